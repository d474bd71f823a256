"""The source `webdataset`: tar files of samples, each the members that share a name up to its first dot."""

import json
import posixpath
from collections import Counter
from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipelines.base.errors import one_line
from pipelines.base.storage import is_remote, join, kind_of
from pipelines.sources.fetch import fetch
from pipelines.sources.image_folder import is_picture
from pipelines.sources.listing import Listing, of_files
from pipelines.sources.places import NothingThereError, Place, find_places
from pipelines.sources.source import SourceSettings
from pipelines.sources.text_tables import column_of


class WebDataset(SourceSettings):
    """Tar files of samples: members that share a name up to its first dot.

    The member with an image's ending is the input. Columns: ``cls``, ``txt`` and other short members by their
    ending, and the keys of a ``json`` member.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"picture"})

    kind: Literal["webdataset"]

    def find_places(self, root: str) -> list[Place]:
        """Find the tar files; a folder stands for those in it."""
        return [tar for place in super().find_places(root) for tar in _tars(root, place)]

    def list_rows(self, place: Place) -> Listing:
        """List a tar file's samples."""
        return list_webdataset(place)


def _tars(root: str, place: Place) -> list[Place]:
    if kind_of(place.url) != "folder":
        return [place]
    named = place.url if is_remote(place.name) else place.name  # a URL's options are no part of its name
    inside = [join(named, pattern) for pattern in ("**.tar", "**.tar.gz", "**.tgz")]
    tars = [tar for pattern in inside for tar in _if_there(root, pattern)]
    if not tars:
        raise NothingThereError(inside[0])
    return tars


def _if_there(root: str, pattern: str) -> list[Place]:
    try:
        return find_places(root, [pattern], files=False)
    except NothingThereError:
        return []


_LARGEST_FIELD = 1 << 20  # bytes: a longer member is no label


def list_webdataset(place: Place) -> Listing:
    """List the samples of a tar file.

    The member with an image's ending is the input. Columns: short members by their ending (``cls``, ``txt``, ...),
    and the keys of a ``json`` member. A sample without an image goes to quarantine.
    """
    files = place.tree().files
    samples: dict[str, dict[str, int]] = {}
    broken: dict[str, str] = {}  # why a sample cannot be used
    sizes, refused = files["size"].to_pylist(), files["refused"].to_pylist()
    names: list[str] = files["name"].to_pylist()
    for i, name in enumerate(names):
        folder, base = posixpath.split(name)
        key, _, ending = base.partition(".")
        key, ending = posixpath.join(folder, key), ending.lower()
        members = samples.setdefault(key, {})
        if ending in members:
            broken[key] = f"two members of one name: .{ending}"  # nothing says which of them is meant
        elif refused[i] is not None:
            broken.setdefault(key, f"broken sample: .{ending}: {refused[i]}")
        members[ending] = i
    field_members = [
        (key, ending, i)
        for key, members in samples.items()
        for ending, i in members.items()
        if not is_picture(f"a.{ending}") and sizes[i] <= _LARGEST_FIELD and refused[i] is None
    ]
    contents = fetch(files.take(pa.array([i for _, _, i in field_members], pa.int64())))
    fields: dict[str, dict[str, Any]] = {key: {} for key in samples}
    notes: Counter[str] = Counter()
    for (key, ending, _), content in zip(field_members, contents, strict=True):
        if isinstance(content, Exception):
            broken.setdefault(key, f"broken sample: .{ending} cannot be read: {one_line(content)}")
            continue
        try:
            fields[key] |= _field(ending, content)
        except UnicodeDecodeError:
            notes[f"members that are no text, and so no column: .{ending}"] += 1
        except (ValueError, RecursionError) as error:
            broken.setdefault(key, f"broken sample: .{ending} is not JSON: {one_line(error)}")
    keys = sorted(samples)
    pictures = [_picture(samples[key]) for key in keys]
    columns = list({name: None for row in fields.values() for name in row})
    table = {name: column_of([fields[key].get(name) for key in keys]) for name in columns} or {"key": pa.array(keys)}
    picture_files = files.take(pa.array(pictures, pa.int64()))
    reasons = [
        broken.get(key) or ("no image in this sample" if i is None else reason)
        for key, i, reason in zip(keys, pictures, picture_files["refused"].to_pylist(), strict=True)
    ]
    index = picture_files.schema.get_field_index("refused")
    picture_files = picture_files.set_column(index, "refused", pa.array(reasons, pa.string()))
    ids = [key if i is None else names[i] for key, i in zip(keys, pictures, strict=True)]
    return of_files(place, pa.array(ids, pa.string()), picture_files, pa.table(table)).with_notes(notes)


def _picture(members: dict[str, int]) -> int | None:
    return next((i for ending, i in sorted(members.items()) if is_picture(f"a.{ending}")), None)


def _field(ending: str, content: bytes) -> dict[str, Any]:
    """Return the columns of a member.

    Raises:
        UnicodeDecodeError: it is no text.
        ValueError, RecursionError: it is to be JSON and is not.
    """
    text = content.decode().strip()
    if ending != "json":
        return {ending: text}
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False).encode()  # raises for half of a surrogate pair, which is no text
    return value if isinstance(value, dict) else {ending: value}
