"""Files by path or URL: local paths, ``s3://``, ``gs://`` and ``abfs://`` through pyarrow's file systems.

Endpoint and credentials are read the way those clients read them: the AWS environment variables and profiles, also
``AWS_ENDPOINT_URL``; Google's application default credentials; Azure's default credential, or AZURE_STORAGE_KEY or
AZURE_STORAGE_SAS_TOKEN, with the account in the URL (``abfs://container@account.dfs.core.windows.net/path``) or in
AZURE_STORAGE_ACCOUNT. Options of pyarrow's own may stand in the URL
(``s3://bucket/images?endpoint_override=localhost:9000&scheme=http``), but no secret: URLs are written down.
"""

import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from mtlcore.suggestions import did_you_mean
from pipelines.base.atomic import write_atomically
from pipelines.base.errors import UserError

REMOTE = ("s3", "gs", "gcs", "abfs", "abfss")
_ATTEMPTS = 10  # of one request, with growing waits (a minute or more in all): one bad answer gives up nothing
_ATTEMPTS_AT_FIRST = 4  # before work starts: who has misspelt an endpoint is told so in seconds
_SECRETS = (
    "access_key",
    "secret_key",
    "session_token",
    "access_token",
    "account_key",
    "sas_token",
    "client_secret",
    "sig",
)
_BUFFER = 4 << 20  # bytes asked for at once of a file that is read from front to back
_TEXT = ("endpoint_override", "scheme", "region", "role_arn", "session_name", "external_id", "tls_ca_file_path")
_TEXT_OF_AZURE = ["blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority", "dfs_storage_scheme"]
_TEXT_OF_AZURE += ["client_id", "tenant_id"]
_OPTIONS: dict[str, dict[str, type]] = {
    "s3": dict.fromkeys(_TEXT, str)
    | {"anonymous": bool, "force_virtual_addressing": bool, "request_timeout": float, "connect_timeout": float},
    "gs": {"endpoint_override": str, "scheme": str, "anonymous": bool, "project_id": str},
    "abfs": dict.fromkeys(_TEXT_OF_AZURE, str),
}


class StorageUnavailableError(Exception):
    """Object storage does not answer after all retries: no row is at fault, and work may continue later."""


class NoFileError(OSError):
    """A pipe, a socket or a device, which has no bytes to be read, or no end of them."""


def is_remote(url: str) -> bool:
    """Say whether a path is a URL of object storage."""
    return "://" in url


def join(base: str, *names: str) -> str:
    """Append names to a path or URL; what follows a URL's ``?`` stays at the end. A URL, as an absolute path, replaces
    what stands before it."""
    for i in range(len(names), 0, -1):
        if is_remote(names[i - 1]):
            return join(names[i - 1], *names[i:])
    if not is_remote(base):
        return os.path.join(base, *names)
    path, mark, options = base.partition("?")
    # An object's name may hold a question mark, which in a URL begins the options.
    added = (name.strip("/").replace("?", "%3F") for name in names if name)
    return "/".join([path.rstrip("/"), *added]) + mark + options


def parent(url: str) -> str:
    """Return the folder of a path or URL."""
    path, mark, options = url.partition("?") if is_remote(url) else (url, "", "")
    return path.rpartition("/")[0] + mark + options


def file_system(url: str, *, attempts: int = _ATTEMPTS) -> tuple[Any, str]:
    """Return pyarrow's file system for a path or URL, and the path on it.

    Args:
        url: the path or URL.
        attempts: how often a request to object storage is made before it counts as failed.

    Raises:
        UserError: the scheme is none that is read, an option is wrong, or a secret stands in the URL.
    """
    if not is_remote(url):
        return _local(), url
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if scheme.lower() not in REMOTE:
        raise UserError(f"{url}: found the scheme {scheme!r}; expected a local path, s3://, gs:// or abfs://")
    if scheme.lower().startswith("abfs"):
        return _azure_place(scheme, place, query)
    user, _, path = place.rpartition("@") if "@" in place.partition("/")[0] else ("", "", place)
    if user not in ("", "anonymous"):
        raise UserError(f"{scheme}://...@{path}: credentials do not belong in a URL, which is written down; {_CLIENTS}")
    bucket = path.partition("/")[0]
    if not bucket:
        raise UserError(f"{url}: found no bucket; expected {scheme}://BUCKET/PATH")
    kind = "s3" if scheme.lower() == "s3" else "gs"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _remote(kind, bucket, user == "anonymous", query, attempts, endpoint), path.rstrip("/").replace("%3F", "?")


def _azure_place(scheme: str, place: str, query: str) -> tuple[Any, str]:
    """Return the file system and path of ``CONTAINER@ACCOUNT.dfs.core.windows.net/PATH``, or ``CONTAINER/PATH``."""
    top, slash, rest = place.partition("/")
    container, at, host = top.partition("@")
    account = host.partition(".")[0] if at else os.environ.get("AZURE_STORAGE_ACCOUNT", "")
    if ":" in top:
        raise UserError(
            f"{scheme}://...{slash}{rest}: credentials do not belong in a URL, which is written down; {_CLIENTS}"
        )
    if not container or not account:
        missing = "no container" if not container else "no account, and AZURE_STORAGE_ACCOUNT is not set"
        raise UserError(
            f"{scheme}://{place}: found {missing}; expected {scheme}://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH"
        )
    return _azure(account, query), f"{container}{slash}{rest}".rstrip("/").replace("%3F", "?")


@lru_cache
def _azure(account: str, query: str) -> Any:
    options = {name: _option("abfs", name, value) for name, value in parse_qsl(query, keep_blank_values=True)}
    secrets = {
        "account_key": os.environ.get("AZURE_STORAGE_KEY"),
        "sas_token": os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
    }
    given = next(((name, secret) for name, secret in secrets.items() if secret), None)
    try:
        return pafs.AzureFileSystem(account, **options, **dict([given] if given else []))
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"abfs://: {error}") from None


_CLIENTS = "expected the environment variables and files that AWS's, Google's and Azure's own clients read"


@lru_cache
def _local() -> Any:
    return pafs.LocalFileSystem()


@lru_cache
def _remote(scheme: str, bucket: str, anonymous: bool, query: str, attempts: int, endpoint: str | None) -> Any:
    options: dict[str, Any] = {"anonymous": True} if anonymous else {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        options[name] = _option(scheme, name, value)
    try:
        if scheme == "gs":
            patience = timedelta(seconds=2.0**attempts / 8)  # its clients know no number of attempts
            return pafs.GcsFileSystem(retry_time_limit=patience, **options)
        if endpoint and "endpoint_override" not in options:
            address = urlsplit(endpoint)
            if not address.netloc or address.scheme not in ("http", "https"):
                raise UserError(f"AWS_ENDPOINT_URL: found {endpoint!r}; expected https://HOST:PORT")
            options |= {"endpoint_override": address.netloc, "scheme": address.scheme}
        if "endpoint_override" not in options and "region" not in options:
            options |= _region(bucket)
        retry = pafs.AwsStandardS3RetryStrategy(max_attempts=attempts)
        # Opened late, a small file is one request; else every file is a multipart upload of three.
        return pafs.S3FileSystem(retry_strategy=retry, allow_delayed_open=True, **options)
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"{scheme}://: {error}") from None


def _region(bucket: str) -> dict[str, str]:
    """Ask AWS where a bucket lies: a request that goes to another region fails."""
    try:
        return {"region": pafs.resolve_s3_region(bucket)}
    except OSError:
        return {}  # what the environment says, or AWS's default


def _option(scheme: str, name: str, value: str) -> Any:
    options = _OPTIONS[scheme]
    if name in _SECRETS:
        raise UserError(f"{scheme}://...?{name}=...: secrets do not belong in a URL, which is written down; {_CLIENTS}")
    if name not in options:
        raise UserError(f"{scheme}://...?{name}=...: unknown option{did_you_mean(name, sorted(options))}")
    truth = {"true": True, "false": False, "1": True, "0": False}
    try:
        return truth[value.lower()] if options[name] is bool else options[name](value)
    except (KeyError, ValueError):
        right = "true or false" if options[name] is bool else "a number"
        raise UserError(f"{scheme}://...?{name}={value}: found {value!r}; expected {right}") from None


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Make one exception of all that object storage's clients raise, but for a file that is not there.

    It is no OSError on purpose: those say that one file cannot be read, and send its row to quarantine.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:  # Google's client has other errors than AWS's
        raise StorageUnavailableError(f"{url}: {error}") from error


def missing_bucket(url: str) -> str | None:
    """Ask for a place in object storage once, before work starts; return its bucket's name if there is no such bucket.

    Raises:
        StorageUnavailableError: the storage does not answer, or forbids to look.
        UserError: the URL is wrong.
    """
    system, path = file_system(url, attempts=_ATTEMPTS_AT_FIRST)
    with _asking(url):
        if system.get_file_info(path).type != pafs.FileType.NotFound:
            return None
    bucket = path.partition("/")[0]
    try:
        return bucket if system.get_file_info(bucket).type == pafs.FileType.NotFound else None
    except OSError:
        return None  # one may be allowed a folder and not its bucket


@dataclass(frozen=True)
class FileEntry:
    """A file that a listing found.

    Attributes:
        name: its path below the folder that was listed.
        size: bytes.
        stamp: changes when the file does: its size and time of change.
        regular: False for a pipe, a socket or a device, which nobody should open.
    """

    name: str
    size: int
    stamp: str
    regular: bool = True


def kind_of(url: str) -> str:
    """Return "file", "folder" or "none"."""
    if not is_remote(url):
        return "folder" if os.path.isdir(url) else "file" if os.path.isfile(url) else "none"
    system, path = file_system(url)
    with _asking(url):
        kind = system.get_file_info(path).type
    return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(kind, "none")


def stat(url: str) -> FileEntry:
    """Return a file's size and stamp.

    Raises:
        OSError: it is not there.
    """
    if not is_remote(url):
        status = os.stat(url)
        return FileEntry(url, status.st_size, stamp_of(status))
    system, path = file_system(url)
    with _asking(url):
        info = system.get_file_info(path)
    if info.type != pafs.FileType.File:
        raise FileNotFoundError(url)
    return FileEntry(url, info.size, _stamp(info))


def _stamp(info: Any) -> str:
    """Some endpoints tell milliseconds in a listing, and whole seconds to who asks for one object."""
    return f"{info.size}-{(info.mtime_ns or 0) // 10**9}"


def stamp_of(status: os.stat_result) -> str:
    """Return what changes when a file on disk does: its size and time of change."""
    return f"{status.st_size}-{status.st_mtime_ns}"


def list_below(url: str) -> Iterator[FileEntry]:
    """Yield every file below a folder, at any depth, in no order; hidden files (a leading dot) are left out."""
    if not is_remote(url):
        yield from _walk(url, "", set())
        return
    system, path = file_system(url)
    with _asking(url):
        infos = system.get_file_info(pafs.FileSelector(path, recursive=True, allow_not_found=True))
    for info in infos:
        name = info.path[len(path) :].lstrip("/")
        if info.type == pafs.FileType.File and not any(part.startswith(".") for part in name.split("/")):
            yield FileEntry(name, info.size, _stamp(info))


def list_folder(url: str) -> list[str]:
    """Return the names in a folder, files' and folders'; none where there is no folder."""
    if not is_remote(url):
        return sorted(os.listdir(url)) if os.path.isdir(url) else []
    system, path = file_system(url)
    with _asking(url):
        infos = system.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(info.base_name for info in infos)


def _walk(folder: str, below: str, above: set[tuple[int, int]]) -> Iterator[FileEntry]:
    folder_status = os.stat(folder)
    if (folder_status.st_dev, folder_status.st_ino) in above:  # a link that leads back
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = below + entry.name
            if entry.name.startswith("."):
                continue
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # links that lead in a circle, and a name that is too long for where they lead
                yield FileEntry(name, 0, "")
                continue
            if is_folder:
                yield from _walk(entry.path, f"{name}/", above | {(folder_status.st_dev, folder_status.st_ino)})
            elif is_file:
                status = entry.stat()
                yield FileEntry(name, status.st_size, stamp_of(status))
            elif entry.is_symlink() and not os.path.exists(entry.path):
                yield FileEntry(name, 0, "")  # it leads nowhere: that is told when it is read
            else:
                yield FileEntry(name, 0, "", regular=False)


def open_regular(path: str, buffering: int = -1) -> BinaryIO:
    """Open a file on disk for reading, looked at after it is opened: a name may lead elsewhere a moment later.

    Raises:
        NoFileError: it is no regular file. To open a pipe would wait for whoever writes to it, for ever.
        OSError: it is not there, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise NoFileError(f"not a regular file: {path}")
        return open(descriptor, "rb", buffering=buffering)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(url: str) -> bytes:
    """Return a file's bytes.

    Raises:
        OSError: it is not there, or cannot be read.
        StorageUnavailableError: object storage does not answer.
    """
    if not is_remote(url):
        with open_regular(url) as file:
            return file.read()
    system, path = file_system(url)
    with _asking(url):
        return _asked(lambda: _readall(system, path))


def _readall(system: Any, path: str) -> bytes:
    with system.open_input_file(path) as file:
        content: bytes = file.readall()
    return content


def _asked(read: Callable[[], bytes]) -> bytes:
    """Ask again where AWS's client gives up at once: at a failure whose text is longer than the bytes asked for."""
    for attempt in range(_ATTEMPTS - 1):
        try:
            return read()
        except OSError as error:
            if "Failed to flush response stream" not in str(error):
                raise
        time.sleep(0.1 * 2**attempt)
    return read()


def open_file(url: str) -> Any:
    """Open a file for reading from front to back, with jumps: ``read``, ``seek``, ``tell``, ``close``.

    Raises:
        OSError: it is not there, or cannot be read.
        StorageUnavailableError: object storage does not answer; what is read may raise it too.
    """
    return io.BufferedReader(open_ranges(url), _BUFFER) if is_remote(url) else open_regular(url)


def open_ranges(url: str) -> Any:
    """Open a file for reading parts of it here and there; in object storage, what is read is what is asked for.

    Raises:
        OSError: it is not there, or cannot be read.
        StorageUnavailableError: object storage does not answer; what is read may raise it too.
    """
    if not is_remote(url):
        return open_regular(url)
    system, path = file_system(url)
    with _asking(url):
        return RemoteFile(url, system.open_input_file(path))


class RemoteFile(io.RawIOBase):
    """A file in object storage; every read is one request. Threads may share it for ``read_at``.

    It keeps its own place, for pyarrow's file refuses to stand behind its end, which readers of cut archives do.

    Attributes:
        size: bytes.
    """

    def __init__(self, url: str, file: Any) -> None:
        super().__init__()
        self._url, self._file, self._position = url, file, 0
        self.size: int = file.size()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has a place."""
        return True

    def tell(self) -> int:
        """Return the place."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; no request."""
        self._position = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence])
        return self._position

    def read_at(self, size: int, offset: int) -> bytes:
        """Return the bytes from ``offset`` on, fewer where the file ends."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        with _asking(self._url):
            return _asked(lambda: self._file.read_at(size, offset))

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, all that are left without a number."""
        length = self.size - self._position if size is None or size < 0 else size
        content = self.read_at(length, self._position)
        self._position += len(content)
        return content

    def readall(self) -> bytes:
        """Return all bytes that are left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; return how many."""
        view = memoryview(buffer).cast("B")
        content = self.read(len(view))
        view[: len(content)] = content
        return len(content)


def write_whole(url: str, content: Any) -> None:
    """Write a file whole or not at all: a reader, or a crash at any moment, meets the old file or the new one.

    Args:
        url: where to.
        content: text, or anything with the bytes of the file (bytes, a pyarrow buffer).

    Raises:
        StorageUnavailableError: object storage does not take it.
    """
    content = content.encode() if isinstance(content, str) else content
    if not is_remote(url):
        write_atomically(Path(url), content)
        return
    system, path = file_system(url)
    # All of it at once: pyarrow finishes the upload of a stream that is thrown away, half of the file as it may be.
    with _asking(url), system.open_output_stream(path, compression=None) as stream:
        stream.write(content)


def delete(url: str) -> None:
    """Delete a file; do nothing where there is none."""
    if not is_remote(url):
        Path(url).unlink(missing_ok=True)
        return
    system, path = file_system(url)
    try:
        with _asking(url):
            system.delete_file(path)
    except FileNotFoundError:
        return
