"""Files that a table names in another spelling: what people do not see, but a file system does.

A spelling is used where it leads to one file alone: other separators, another case, composed or decomposed accents,
escapes of a URL, a name without its ending. What is found in another folder is only told.
"""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.tree import FILES, Tree

_MISSING = "missing file"
_MOST_FILES = 5_000_000  # names of a tree that are looked through


def _slashes(name: str) -> str:
    return posixpath.normpath(name.replace("\\", "/"))


def _accents(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    folder, file = posixpath.split(name)
    return posixpath.join(folder, file.rpartition(".")[0] or file)


# By what a note says of them; each is tried on top of those before it.
_SPELLINGS: tuple[tuple[str, Callable[[str], str], Callable[[str], str]], ...] = (
    ("blanks around it", lambda written: written.strip(), lambda stored: stored),
    ("other separators", _slashes, lambda stored: stored),
    ("accents in another form", _accents, _accents),
    ("escapes of a URL", unquote, lambda stored: stored),
    ("another case", str.casefold, str.casefold),
    ("no ending", lambda written: written, _stem),
)


def find_near(tree: Tree, names: pa.Array) -> tuple[pa.Table, dict[str, int]]:
    """Find files by name, in another spelling where there is none of this name.

    Args:
        tree: the files.
        names: string.

    Returns:
        as :meth:`Tree.find`; and how many were found in another spelling, by what it differs in.
    """
    found = tree.find(names)
    missing = pc.equal(pc.fill_null(found["refused"], ""), _MISSING)
    if not pc.any(missing).as_py():
        return found, {}
    wanted = pc.unique(found["name"].filter(missing)).to_pylist()
    stored = [name for name in tree.names() if name]
    if len(stored) > _MOST_FILES:
        return found, {}
    spelt, differs = _spelt(wanted, stored)
    renamed, notes = [], Counter[str]()
    for name, is_missing in zip(found["name"].to_pylist(), missing.to_pylist(), strict=True):
        near = spelt.get(name or "") if is_missing else None
        renamed.append(near or name)
        if near:
            notes[f"file names in another spelling: {differs[name]}"] += 1
    if notes:
        found = tree.find(pa.array(renamed, pa.string()))
    return _with_hints(found, set(wanted) - spelt.keys(), stored), dict(notes)


def _spelt(wanted: Sequence[str], stored: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the stored name that each wanted one means, where it is one alone, and what it differs in."""
    spelt: dict[str, str] = {}
    differs: dict[str, str] = {}
    written = {name: name for name in wanted}
    kept = {name: name for name in stored}
    for what, of_written, of_stored in _SPELLINGS:
        written = {name: of_written(text) for name, text in written.items() if name not in spelt}
        if not written:
            break
        kept = {name: of_stored(text) for name, text in kept.items()}
        places: dict[str, list[str]] = {}
        needed = set(written.values())
        for name, text in kept.items():
            if text in needed:
                places.setdefault(text, []).append(name)
        for name, text in written.items():
            if len(near := places.get(text, [])) == 1:
                spelt[name], differs[name] = near[0], what
    return spelt, differs


def _last(name: str) -> str:
    """Return a path's last part, as it is written here or on Windows."""
    return posixpath.basename(name.replace("\\", "/"))


def _with_hints(found: pa.Table, unknown: set[str], stored: Sequence[str]) -> pa.Table:
    """Say of a missing file where one of its name lies, if one does."""
    by_name: dict[str, list[str]] = {}
    wanted = {_last(name) for name in unknown if name}
    for name in stored:
        if (last := posixpath.basename(name)) in wanted:
            by_name.setdefault(last, []).append(name)
    reasons = []
    for name, reason in zip(found["name"].to_pylist(), found["refused"].to_pylist(), strict=True):
        near = by_name.get(_last(name or ""), []) if reason == _MISSING else []
        if near:
            folder = near[0].removesuffix(name or "")
            add = f"; set source.file_prefix: {folder!r}" if len(near) == 1 and near[0] == folder + (name or "") else ""
            reason = f"{_MISSING}: {near[0]} is there{add}"
        reasons.append(reason)
    return found.set_column(FILES.get_field_index("refused"), "refused", pa.array(reasons, pa.string()))
