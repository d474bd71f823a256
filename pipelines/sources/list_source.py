"""List the rows of any source, in parallel where Ray is running."""

import os
import posixpath
import sys
from collections.abc import Sequence

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError, one_line
from pipelines.base.storage import StorageUnavailableError, is_remote, join, kind_of, list_folder, missing_bucket
from pipelines.sources.listing import Listing, joined, rejected
from pipelines.sources.places import NothingThereError, Place, split_at_archive
from pipelines.sources.source import SourceSettings
from pipelines.sources.tree import BrokenArchiveError


def list_source(root: str, source: SourceSettings, *, quarantine_broken_archives: bool = False) -> Listing:
    """List a source's rows.

    Args:
        root: the case's data_root.
        source: the source.
        quarantine_broken_archives: an archive that cannot be listed counts as one row that was refused.

    Raises:
        UserError: nothing lies there, a file cannot be read, or lacks a column, or an archive is broken.
    """
    try:
        places = source.find_places(root)
    except BrokenArchiveError as error:
        if quarantine_broken_archives:
            path = source.path[0]
            return rejected(Place(error.url, "", None, path), f"broken archive: {error.why}")
        raise UserError(f"{error}; expected a whole archive") from None
    except NothingThereError as error:
        what = wrong_kind(root, str(error), source)
        what = what or f"nothing lies at {error} below {root}; expected a file, a folder or an archive"
        raise UserError(what) from None
    results = _each(source, places)
    if not quarantine_broken_archives:
        for result in results:
            if isinstance(result, BrokenArchiveError):
                raise UserError(
                    f"{result}; expected a whole archive (ingest.broken_archives: quarantine continues without it)"
                )
    for place, result in zip(places, results, strict=True):
        if isinstance(result, Listing) and not len(result):
            raise UserError(f"{place}: found no row in it; expected at least one input, or the path left out")
    return joined(
        [
            rejected(p, f"broken archive: {result.why}") if isinstance(result, BrokenArchiveError) else result
            for p, result in zip(places, results, strict=True)
        ]
    )


def _each(source: SourceSettings, places: Sequence[Place]) -> "list[Listing | BrokenArchiveError]":
    ray = sys.modules.get("ray")  # importing it takes seconds
    if len(places) == 1 or ray is None or not ray.is_initialized():
        return [_list_place(source, place) for place in places]
    listing = ray.remote(_list_place)
    waiting = [listing.remote(source, place) for place in places]
    try:
        results: list[Listing | BrokenArchiveError] = ray.get(waiting)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError | StorageUnavailableError) else error from None
    return results


def _list_place(source: SourceSettings, place: Place) -> Listing | BrokenArchiveError:
    try:
        return source.list_rows(place)
    except BrokenArchiveError as error:
        return error
    except (UserError, StorageUnavailableError, MemoryError):
        raise
    except Exception as error:  # as decoding treats an image: whatever damaged bytes make a library raise, it is told
        raise UserError(f"{place}: cannot be listed: {one_line(error)}") from error


def wrong_kind(root: str, path: str, source: SourceSettings) -> str | None:
    """Say it where something of another kind lies at a path; None where nothing does."""
    url = join(root, path)
    if is_remote(url) or "*" in path or not os.path.lexists(url):
        return None
    found = {"folder": "a folder", "file": "a file"}.get(kind_of(url))
    found = found or ("a link to nothing" if os.path.islink(url) and not os.path.exists(url) else "no regular file")
    if source.of_files:
        tables = sorted(name for name in list_folder(url) if posixpath.splitext(name)[1].lower() in _TABLES)
        inside = f"; in it lies {tables[0]!r}, so set source.path: {join(path, tables[0])!r}" if tables else ""
        return f"found {path!r}, {found}; expected a file for a source of kind {source.kind!r}{inside}"
    return f"found {path!r}, {found}; expected a folder or an archive for a source of kind {source.kind!r}"


_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".npz", ".npy")


def nothing_there(root: str, path: str) -> str:
    """Say what lies where a path should lead, for a message; empty where nothing of use can be said."""
    url = join(root, path)
    archive, inner = split_at_archive(url)
    if archive is not None:
        folder, _, name = inner.rpartition("/")
        tree = Place(archive, folder, None, path).tree()
        return did_you_mean(name, sorted({member.split("/")[0] for member in tree.names()}))
    folder, _, name = url.rstrip("/").rpartition("/")
    if is_remote(url):
        bucket = missing_bucket(url)
        return f"; there is no bucket {bucket!r}" if bucket else ""
    if kind_of(folder) != "folder":
        return ""
    return did_you_mean(name, list_folder(folder))
