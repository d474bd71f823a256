"""Files by path or URL: local paths, ``s3://`` and ``gs://`` through pyarrow's file systems.

Endpoint and credentials are read the way those clients read them: the AWS environment variables and profiles, also
``AWS_ENDPOINT_URL``; Google's application default credentials. Options of pyarrow's own may stand in the URL
(``s3://bucket/pictures?endpoint_override=localhost:9000&scheme=http``).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow.fs as pafs

from pipelines.atomic import writing_atomically
from pipelines.errors import UserError

REMOTE = ("s3", "gs", "gcs")
_ATTEMPTS = 10  # of one request to object storage, with growing waits; nothing is given up for one bad answer


class StorageUnavailableError(Exception):
    """Object storage does not answer, for all that was tried: that is no row's fault, and work may go on later."""


def is_remote(url: str) -> bool:
    """Say whether a path is a URL of object storage."""
    return "://" in url


def join(base: str, *names: str) -> str:
    """Append names to a path or URL; what follows a URL's ``?`` stays at the end."""
    if not is_remote(base):
        return os.path.join(base, *names)
    path, mark, options = base.partition("?")
    return "/".join([path.rstrip("/"), *(name.strip("/") for name in names if name)]) + mark + options


def parent(url: str) -> str:
    """Return the folder of a path or URL."""
    path, mark, options = url.partition("?") if is_remote(url) else (url, "", "")
    return path.rpartition("/")[0] + mark + options


def file_system(url: str) -> tuple[Any, str]:
    """Return pyarrow's file system for a path or URL, and the path on it.

    Raises:
        UserError: the scheme is none that is read, or pyarrow refuses an option.
    """
    if not is_remote(url):
        return _local(), url
    parts = urlsplit(url)
    if parts.scheme not in REMOTE:
        raise UserError(f"{url}: found the scheme {parts.scheme!r}; a local path, s3:// or gs:// is right")
    bucket = parts.netloc.rpartition("@")[2]
    return _remote(parts.scheme, parts.netloc, parts.query), f"{bucket}{parts.path}".rstrip("/")


@lru_cache
def _local() -> Any:
    return pafs.LocalFileSystem()


@lru_cache
def _remote(scheme: str, bucket: str, query: str) -> Any:
    try:
        if scheme != "s3":
            return pafs.FileSystem.from_uri(f"gs://{bucket}/?{query}" if query else f"gs://{bucket}/")[0]
        options: dict[str, Any] = dict(parse_qsl(query))
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        if endpoint and "endpoint_override" not in options:
            of = urlsplit(endpoint)
            options |= {"endpoint_override": of.netloc, "scheme": of.scheme}
        return pafs.S3FileSystem(retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS), **options)
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"{scheme}://{bucket}: {error}") from None


@dataclass(frozen=True)
class Found:
    """A file that a listing found.

    Attributes:
        name: its path below the folder that was listed.
        size: bytes.
        stamp: changes when the file does: its size and time of change.
    """

    name: str
    size: int
    stamp: str


def kind_of(url: str) -> str:
    """Return "file", "folder" or "none"."""
    if not is_remote(url):
        return "folder" if os.path.isdir(url) else "file" if os.path.isfile(url) else "none"
    system, path = file_system(url)
    kind = system.get_file_info(path).type
    return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(kind, "none")


def stat(url: str) -> Found:
    """Return a file's size and stamp.

    Raises:
        OSError: it is not there.
    """
    if not is_remote(url):
        found = os.stat(url)
        return Found(url, found.st_size, stamp_of(found))
    system, path = file_system(url)
    info = system.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(url)
    return Found(url, info.size, f"{info.size}-{info.mtime_ns}")


def stamp_of(found: os.stat_result) -> str:
    """Return what changes when a file on disk does: its size and time of change."""
    return f"{found.st_size}-{found.st_mtime_ns}"


def list_below(url: str) -> Iterator[Found]:
    """Yield every file below a folder, at any depth, in no order; hidden files (a leading dot) are left out."""
    if not is_remote(url):
        yield from _walk(url, "", set())
        return
    system, path = file_system(url)
    for info in system.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True)):
        name = info.path[len(path) :].lstrip("/")
        if info.type == pafs.FileType.File and not any(part.startswith(".") for part in name.split("/")):
            yield Found(name, info.size, f"{info.size}-{info.mtime_ns}")


def list_folder(url: str) -> list[str]:
    """Return the names in a folder, files' and folders'; none where there is no folder."""
    if not is_remote(url):
        return sorted(os.listdir(url)) if os.path.isdir(url) else []
    system, path = file_system(url)
    found = system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in found)


def _walk(folder: str, below: str, seen: set[tuple[int, int]]) -> Iterator[Found]:
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in seen:  # a link that leads back
        return
    seen.add((here.st_dev, here.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            name = below + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, f"{name}/", seen)
            elif entry.is_file():
                of = entry.stat()
                yield Found(name, of.st_size, stamp_of(of))


def read_bytes(url: str) -> bytes:
    """Return a file's bytes.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    if not is_remote(url):
        with open(url, "rb") as file:
            return file.read()
    system, path = file_system(url)
    with system.open_input_file(path) as file:
        content: bytes = file.readall()
        return content


def open_file(url: str) -> Any:
    """Open a file for reading at any place: ``read``, ``seek``, ``tell``, ``close``.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    if not is_remote(url):
        return open(url, "rb")
    system, path = file_system(url)
    return system.open_input_file(path)


def write_whole(url: str, content: Any) -> None:
    """Write a file whole or not at all: a reader, or a crash at any moment, meets the old file or the new one.

    Args:
        url: where to.
        content: text, or anything with the bytes of the file (bytes, a pyarrow buffer).
    """
    with writing(url) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def writing(url: str) -> Iterator[Any]:
    """Open a file that appears, whole, when the block ends, and never if it raises."""
    if not is_remote(url):
        with writing_atomically(Path(url)) as file:
            yield file
        return
    system, path = file_system(url)
    # An object appears when its stream is closed; an upload that is never closed is never seen.
    stream = system.open_output_stream(path)
    yield stream
    stream.close()


def delete(url: str) -> None:
    """Delete a file; do nothing where there is none."""
    if not is_remote(url):
        Path(url).unlink(missing_ok=True)
        return
    system, path = file_system(url)
    try:
        system.delete_file(path)
    except FileNotFoundError:
        return
