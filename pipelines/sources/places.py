"""Resolve a source's paths and patterns to the folders, files and archives that they name."""

import os
import posixpath
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote, join, kind_of, list_below, parent, stat
from pipelines.sources.archives import archive_kind, is_folder
from pipelines.sources.tree import Tree


@dataclass(frozen=True)
class Place:
    """A folder, an archive, a folder in one, or a file in any of them.

    Attributes:
        url: of the folder or archive.
        below: a folder in the archive.
        file: the file's name there; None where the place is the folder or archive itself.
        name: the place as the case file names it, below data_root.
        alone: the case file names this one place; else its name stands before the ids of its rows.
    """

    url: str
    below: str
    file: str | None
    name: str
    alone: bool = True

    def tree(self) -> Tree:
        """Open the place's tree; an archive's list of files is kept for as long as the archive does not change."""
        if is_folder(self.url):
            return Tree(self.url)
        return _archive(self.url, self.below, stat(self.url).stamp)

    def __str__(self) -> str:
        """Name the place in full, for messages."""
        if archive_kind(self.url) is None and not self.below:
            return join(self.url, self.file) if self.file else self.url
        inside = "/".join(part for part in (self.below, self.file) if part)
        return f"{self.url}!{inside}" if inside else self.url


class NothingThereError(Exception):
    """A path that names nothing; the message is the path."""


@lru_cache(maxsize=16)
def _archive(url: str, below: str, stamp: str) -> Tree:
    return Tree(url, below)


def find_places(root: str, paths: Sequence[str], *, files: bool) -> list[Place]:
    """Find what some paths name, sorted by name.

    Args:
        root: the case's data_root: a folder, an archive or a URL of either.
        paths: below root, absolute, or URLs; ``*`` matches within a name, ``**`` over folders too.
        files: whether the paths name files (tables) rather than folders and archives.

    Returns:
        the places, each once.

    Raises:
        NothingThereError: a path names nothing.
        BrokenArchiveError: an archive on the way cannot be listed.
        UserError: a place lies in another one.
    """
    unique: dict[tuple[str, str, str | None], Place] = {}
    for path in paths:
        matches = list(_matches(root, path, files))
        if not matches:
            raise NothingThereError(path)
        for place in matches:
            unique.setdefault((place.url.rstrip("/"), place.below, place.file), place)
    alone = len(paths) == 1 and "*" not in paths[0]
    # A URL's options say how to get there: they are no part of a name, which goes into rows' ids.
    places = [replace(place, alone=alone, name=_without_options(place.name)) for place in unique.values()]
    places.sort(key=lambda place: (place.name, place.url))
    _check_apart(places)
    return places


def _check_apart(places: Sequence[Place]) -> None:
    """Refuse a folder in another one that is listed too: its rows would stand twice."""
    inside = sorted((f"{str(place).rstrip('/')}/", place.name) for place in places if place.file is None)
    for (outer, first), (inner, second) in pairwise(inside):
        if inner.startswith(outer):
            raise UserError(f"found {second!r}, which lies in {first!r}: its rows would stand twice; expected one")


def _matches(root: str, path: str, files: bool) -> Iterator[Place]:
    fixed, pattern = _split_pattern(path)
    archive, inner = split_at_archive(_below(root, fixed))
    if archive is not None:
        names = Place(archive, "", None, path).tree().names()
        for prefix in ("", *_one_top_folder(names)):
            candidate = "/".join(part for part in (prefix, inner) if part)
            matches = list(_in_archive(archive, names, candidate, pattern, path, fixed, files))
            yield from matches
            if matches:
                return
        return
    for folder in _top_folder_left_out(root, fixed):
        if pattern:
            if kind_of(folder) == "folder":
                yield from _in_folder(folder, fixed, pattern, files)
                return
        elif (kind := kind_of(folder)) != "none":
            if (kind == "file") == files:
                yield Place(parent(folder), "", _last(folder), path) if files else Place(folder, "", None, path)
            return


def _below(root: str, path: str) -> str:
    if is_remote(path) or os.path.isabs(path):
        return path
    path = posixpath.normpath(path)
    return join(root, path) if path != "." else root


def _last(url: str) -> str:
    return url.partition("?")[0].rstrip("/").rpartition("/")[2] if is_remote(url) else os.path.basename(url)


def _split_pattern(path: str) -> tuple[str, str]:
    """Split a path into what has no pattern in it and the rest: ``a/b*/c`` into ``a`` and ``b*/c``."""
    plain, mark, options = path.partition("?") if is_remote(path) else (path, "", "")
    if "*" not in plain:
        return path, ""
    before = plain[: plain.index("*")]
    fixed = before.rpartition("/")[0]
    return fixed + mark + options, plain[len(fixed) :].lstrip("/")


def _without_options(path: str) -> str:
    return path.partition("?")[0] if is_remote(path) else path


def split_at_archive(url: str) -> tuple[str | None, str]:
    """Split a path at the archive in it: its own path (None where there is none), and the path inside."""
    plain, mark, options = url.partition("?") if is_remote(url) else (url, "", "")
    parts = plain.split("/")
    for end in range(1, len(parts) + 1):
        candidate = "/".join(parts[:end])
        if is_remote(url):
            is_archive = archive_kind(parts[end - 1]) is not None and end > 3
        else:
            is_archive = os.path.isfile(candidate) and (
                archive_kind(candidate) is not None
                or ("." not in os.path.basename(candidate) and zipfile.is_zipfile(candidate))
            )
        if is_archive:
            return candidate + mark + options, "/".join(part for part in parts[end:] if part not in ("", "."))
    return None, ""


def _one_top_folder(names: Sequence[str]) -> list[str]:
    """Return the one folder that everything in an archive lies in, if so: it may be left out of paths."""
    tops = {name.split("/", 1)[0] for name in names}
    return [*tops] if len(tops) == 1 and any("/" in name for name in names) else []


def _in_archive(
    archive: str, names: Sequence[str], inner: str, pattern: str, path: str, fixed: str, files: bool
) -> Iterator[Place]:
    if pattern:
        prefix = f"{inner}/" if inner else ""
        for name in _matching((n[len(prefix) :] for n in names if n.startswith(prefix)), pattern, files):
            yield _archive_place(archive, prefix + name, f"{fixed}/{name}".lstrip("/"), files)
    elif files and inner in names:
        yield _archive_place(archive, inner, path, files)
    elif not files and (not inner or any(name.startswith(f"{inner}/") for name in names)):
        yield Place(archive, inner, None, path)


def _archive_place(archive: str, inner: str, name: str, files: bool) -> Place:
    return Place(archive, "", inner, name) if files else Place(archive, inner, None, name)


def _in_folder(folder: str, fixed: str, pattern: str, files: bool) -> Iterator[Place]:
    names = (file.name for file in list_below(folder) if file.regular)
    for name in _matching(names, pattern, files, archives=not files):
        label = f"{_without_options(fixed).rstrip('/')}/{name}" if fixed else name
        url = join(folder, name)
        yield Place(parent(url), "", _last(url), label) if files else Place(url, "", None, label)


def _matching(names: Iterator[str], pattern: str, files: bool, archives: bool = False) -> list[str]:
    """Return the files, or the folders (and archives) that a pattern matches."""
    matches = re.compile(_as_expression(pattern)).fullmatch
    if files:
        return sorted({name for name in names if matches(name)})
    matched = set()
    for name in names:
        parts = name.split("/")
        matched |= {folder for end in range(1, len(parts)) if matches(folder := "/".join(parts[:end]))}
        if archives and archive_kind(name) and matches(name):
            matched.add(name)
    return sorted(matched)


def _as_expression(pattern: str) -> str:
    parts = re.split(r"(\*\*/?|\*)", pattern)
    signs = {"**/": r"(?:.*/)?", "**": r".*", "*": r"[^/]*"}
    return "".join(signs.get(part, re.escape(part)) for part in parts)


def _top_folder_left_out(root: str, path: str) -> Iterator[str]:
    """Yield the path below root, and below the one folder in root: archives are often unpacked into one."""
    yield _below(root, path)
    if is_remote(root) or is_remote(path) or os.path.isabs(path) or not os.path.isdir(root):
        return
    inside = [entry.path for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    if len(inside) == 1:
        yield _below(inside[0], path)
