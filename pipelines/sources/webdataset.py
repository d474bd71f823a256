"""The source `webdataset`: tar files of samples, each the members that share a name up to its first dot."""

import json
import posixpath
from typing import Any, ClassVar, Literal

import pyarrow as pa

from pipelines.base.errors import UserError
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
    sizes = files["size"].to_pylist()
    names: list[str] = files["name"].to_pylist()
    for i, name in enumerate(names):
        folder, base = posixpath.split(name)
        key, _, ending = base.partition(".")
        samples.setdefault(posixpath.join(folder, key), {})[ending.lower()] = i
    field_members = [
        (key, ending, i)
        for key, members in samples.items()
        for ending, i in members.items()
        if not is_picture(f"a.{ending}") and sizes[i] <= _LARGEST_FIELD
    ]
    contents = fetch(files.take(pa.array([i for _, _, i in field_members], pa.int64())))
    fields: dict[str, dict[str, Any]] = {key: {} for key in samples}
    for (key, ending, i), content in zip(field_members, contents, strict=True):
        if isinstance(content, Exception):
            raise UserError(f"{place}: {names[i]!r} cannot be read: {content}")
        fields[key] |= _field(place, names[i], ending, content)
    keys = sorted(samples)
    pictures = [_picture(samples[key]) for key in keys]
    columns = list({name: None for row in fields.values() for name in row})
    table = {name: column_of([fields[key].get(name) for key in keys]) for name in columns} or {"key": pa.array(keys)}
    picture_files = files.take(pa.array(pictures, pa.int64()))
    reasons = [
        "no image in this sample" if i is None else reason
        for i, reason in zip(pictures, picture_files["refused"].to_pylist(), strict=True)
    ]
    index = picture_files.schema.get_field_index("refused")
    picture_files = picture_files.set_column(index, "refused", pa.array(reasons, pa.string()))
    ids = [key if i is None else names[i] for key, i in zip(keys, pictures, strict=True)]
    return of_files(place, pa.array(ids, pa.string()), picture_files, pa.table(table))


def _picture(members: dict[str, int]) -> int | None:
    return next((i for ending, i in sorted(members.items()) if is_picture(f"a.{ending}")), None)


def _field(place: Place, name: str, ending: str, content: bytes) -> dict[str, Any]:
    if ending == "json":
        try:
            value = json.loads(content)
        except ValueError as error:
            raise UserError(f"{place}: {name!r} is not JSON: {error}; expected a JSON value") from None
        return value if isinstance(value, dict) else {ending: value}
    try:
        return {ending: content.decode().strip()}
    except UnicodeDecodeError:
        return {}  # bytes of some other kind are no label
