"""List the rows of any source, in parallel where Ray is running."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.storage import StorageUnavailableError, is_remote, join, kind_of, list_folder, missing_bucket
from pipelines.sources.image_folder import ImageFolder, list_image_folder
from pipelines.sources.listing import Listing, joined, of_files, rejected
from pipelines.sources.numpy_arrays import NumpyArrays, list_numpy
from pipelines.sources.parquet_table import HuggingFace, ParquetTable, hugging_face_patterns, list_parquet
from pipelines.sources.places import NothingThereError, Place, find_places, split_at_archive
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.registry import Source
from pipelines.sources.text_tables import CsvTable, JsonLines, list_csv, list_json_lines
from pipelines.sources.tree import BrokenArchiveError
from pipelines.sources.webdataset import WebDataset, list_webdataset

_OF_FILES = (CsvTable, JsonLines, ParquetTable, HuggingFace, NumpyArrays)


def source_places(root: str, source: Source) -> list[Place]:
    """Find the places of a source.

    Raises:
        NothingThereError: one of its paths names nothing.
        BrokenArchiveError: an archive on the way cannot be listed.
        UserError: a place lies in another one.
    """
    if isinstance(source, HuggingFace):
        return [place for path in source.path for place in _hugging_face(root, path, source)]
    found = find_places(root, source.path, files=isinstance(source, _OF_FILES))
    if isinstance(source, WebDataset):
        return [one for place in found for one in _tars(root, place)]
    return found


def _hugging_face(root: str, path: str, source: HuggingFace) -> list[Place]:
    for pattern in hugging_face_patterns(path, source):
        try:
            return find_places(root, [pattern], files=True)
        except NothingThereError:
            continue
    raise NothingThereError(path)


def _tars(root: str, place: Place) -> list[Place]:
    """A folder stands for the tar files in it."""
    if kind_of(place.url) != "folder":
        return [place]
    named = place.url if is_remote(place.name) else place.name  # a URL's options are no part of its name
    inside = [join(named, pattern) for pattern in ("**.tar", "**.tar.gz", "**.tgz")]
    found = [one for pattern in inside for one in _if_there(root, pattern)]
    if not found:
        raise NothingThereError(inside[0])
    return found


def _if_there(root: str, pattern: str) -> list[Place]:
    try:
        return find_places(root, [pattern], files=False)
    except NothingThereError:
        return []


def list_source(root: str, source: Source, *, quarantine_broken_archives: bool = False) -> Listing:
    """List a source's rows.

    Args:
        root: the case's data_root.
        source: the source.
        quarantine_broken_archives: an archive that cannot be listed counts as one row that was refused.

    Raises:
        UserError: nothing lies there, a file cannot be read, or lacks a column, or an archive is broken.
    """
    try:
        places = source_places(root, source)
    except BrokenArchiveError as error:
        if quarantine_broken_archives:
            path = source.path[0]
            return rejected(Place(error.url, "", None, path), f"broken archive: {error.why}")
        raise UserError(f"{error}; expected a whole archive") from None
    except NothingThereError as error:
        raise UserError(f"nothing lies at {error} below {root}") from None
    found = _each(source, places)
    if not quarantine_broken_archives:
        for one in found:
            if isinstance(one, BrokenArchiveError):
                raise UserError(
                    f"{one}; expected a whole archive (ingest.broken_archives: quarantine continues without it)"
                )
    for place, one in zip(places, found, strict=True):
        if isinstance(one, Listing) and not len(one):
            raise UserError(f"{place}: found no row in it; expected at least one input, or the path left out")
    return joined(
        [
            rejected(p, f"broken archive: {one.why}") if isinstance(one, BrokenArchiveError) else one
            for p, one in zip(places, found, strict=True)
        ]
    )


def _each(source: Source, places: Sequence[Place]) -> "list[Listing | BrokenArchiveError]":
    import ray

    if len(places) == 1 or not ray.is_initialized():
        return [_list_place(source, place) for place in places]
    listing = ray.remote(_list_place)
    waiting = [listing.remote(source, place) for place in places]
    try:
        found: list[Listing | BrokenArchiveError] = ray.get(waiting)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError | StorageUnavailableError) else error from None
    return found


def _list_place(source: Source, place: Place) -> Listing | BrokenArchiveError:
    readers: dict[type, Any] = {
        CsvTable: list_csv,
        JsonLines: list_json_lines,
        ParquetTable: list_parquet,
        HuggingFace: list_parquet,
        NumpyArrays: list_numpy,
        PublishedSet: _list_published,
    }
    try:
        if isinstance(source, ImageFolder):
            return list_image_folder(place)
        if isinstance(source, WebDataset):
            return list_webdataset(place)
        found: Listing = readers[type(source)](place, source)
        return found
    except BrokenArchiveError as error:
        return error
    except (pa.ArrowException, OSError, UnicodeError, NotImplementedError, RecursionError) as error:
        raise UserError(f"{place}: cannot be listed: {type(error).__name__}: {error}") from None


def _list_published(place: Place, source: PublishedSet) -> Listing:
    from pipelines.sources.published import read_published

    tree = place.tree()
    table = read_published(tree, source)
    pictures = table["picture"].combine_chunks().cast(pa.string())
    return of_files(place, pictures, tree.find(pictures), table.drop_columns(["picture"]))


def nothing_there(root: str, path: str) -> str:
    """Say what lies where a path should lead, for a message; empty where nothing of use can be said."""
    whole = join(root, path)
    archive, inner = split_at_archive(whole)
    if archive is not None:
        folder, _, name = inner.rpartition("/")
        tree = Place(archive, folder, None, path).tree()
        return did_you_mean(name, sorted({one.split("/")[0] for one in tree.names()}))
    folder, _, name = whole.rstrip("/").rpartition("/")
    if is_remote(whole):
        bucket = missing_bucket(whole)
        return f"; there is no bucket {bucket!r}" if bucket else ""
    if kind_of(folder) != "folder":
        return ""
    return did_you_mean(name, list_folder(folder))
