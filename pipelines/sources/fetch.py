"""Read the bytes of files that a tree has listed, in any process."""

import io
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipelines.base.storage import (
    RemoteFile,
    StorageUnavailableError,
    is_remote,
    open_file,
    open_ranges,
    open_regular,
    read_bytes,
)
from pipelines.sources.archives import DECOMPRESSED

MOST_BYTES = 512 << 20  # of one input, decompressed: what a few hundred bytes of an archive may come to
MOST_BYTES_OF_A_TABLE = 4 << 30  # where it lies in an archive and is read whole
_AT_ONCE = 64 << 10  # compressed bytes, which come to 64 MiB at most
_REQUESTS_AT_ONCE = 16  # to object storage, where one answer takes longer than decoding an image
_MOST_OF_ONE_REQUEST = 4 << 20  # bytes of neighbours in an archive that are asked for together
_WORTH_SKIPPING = 64 << 10  # bytes between two of them that are read along rather than asked around
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, lengths of name and extra field
_BEFORE = _LOCAL_HEADER.size + 512  # in most archives, header and bytes come with one read

Row = dict[str, Any]
Range = Callable[[int, int], bytes]  # (start, size) of a row's file; fewer bytes where it ends


def fetch(files: pa.Table) -> Iterator[bytes | Exception]:
    """Yield the bytes of some files in their order; for one that cannot be read, or of more than 512 MiB, why.

    Args:
        files: schema ``pipelines.sources.tree.FILES``; none of them refused.

    Raises:
        StorageUnavailableError: object storage does not answer.
    """
    rows: list[Row] = files.select(["file", "codec", "offset", "size", "stamp"]).to_pylist()
    for read_part, group in groupby(rows, _way_to_read):
        yield from read_part(list(group))


def first_bytes(files: pa.Table, n: int) -> Iterator[bytes]:
    """Yield the first ``n`` bytes of some files, fewer where there are no more or it cannot be read.

    Args:
        files: schema ``pipelines.sources.tree.FILES``; none of them refused.
        n: how many.
    """
    for row in files.select(["file", "codec", "offset", "size", "stamp"]).to_pylist():
        try:
            yield _head(row, n)
        except StorageUnavailableError:
            raise
        except Exception:  # what cannot be read is no image; the ingest would say the same of it
            yield b""


def _head(row: Row, n: int) -> bytes:
    codec, least = row["codec"], min(n, row["size"])
    if codec == "file":
        return _range(row, 0, least)
    if codec == "tar":
        return _range(row, row["offset"], least)
    if codec in DECOMPRESSED:
        stream = _stream(row["file"], codec, row["stamp"])
        stream.seek(row["offset"])
        return bytes(stream.read(least))
    content = _range(row, row["offset"], _LOCAL_HEADER.size)
    _, name, extra = _LOCAL_HEADER.unpack_from(content)
    content = _range(row, row["offset"] + _LOCAL_HEADER.size + name + extra, min(row["size"], n + 1024))
    return zlib.decompressobj(wbits=-15).decompress(content, n) if codec == "deflated" else content[:n]


def _way_to_read(row: Row) -> Callable[[Sequence[Row]], Iterable[bytes | Exception]]:
    if row["codec"] in DECOMPRESSED:
        return _front_to_back
    return _many_at_once if is_remote(row["file"]) else _one_by_one


def _one_by_one(rows: Sequence[Row]) -> Iterator[bytes | Exception]:
    return map(_read, rows)


def _front_to_back(rows: Sequence[Row]) -> list[bytes | Exception]:
    """Read members of compressed archives in the archives' order: every step back decompresses from the start."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["file"], rows[i]["offset"]))
    contents = {i: _read(rows[i]) for i in order}
    return [contents[i] for i in range(len(rows))]


def _many_at_once(rows: Sequence[Row]) -> Iterator[bytes | Exception]:
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
        waiting: deque[Future[list[bytes | Exception]]] = deque()
        for together in _requests(rows):
            waiting.append(pool.submit(_read_together, together))
            if len(waiting) > 2 * _REQUESTS_AT_ONCE:  # what is fetched lies in memory until it is decoded
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def fetch_one(row: Row) -> bytes:
    """Return the bytes of one file that holds many rows.

    Raises:
        OSError: it cannot be read, or has more than 4 GiB.
        StorageUnavailableError: object storage does not answer.
    """
    content = _read(row, most=MOST_BYTES_OF_A_TABLE)
    if isinstance(content, Exception):
        raise OSError(str(content)) from content
    return content


def _requests(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Put rows together that follow each other closely in an archive in object storage."""
    together: list[Row] = []
    for row in rows:
        if together and not _one_request(together, row):
            yield together
            together = []
        together.append(row)
    if together:
        yield together


def _one_request(together: Sequence[Row], row: Row) -> bool:
    first, last = together[0], together[-1]
    return (
        row["codec"] != "file"
        and row["file"] == first["file"]
        and is_remote(row["file"])
        and last["offset"] <= row["offset"] <= _end(last) + _WORTH_SKIPPING
        and _end(row) - first["offset"] <= _MOST_OF_ONE_REQUEST
    )


def _end(row: Row) -> int:
    return int(row["offset"] + row["size"] + (0 if row["codec"] == "tar" else _BEFORE))


def _read_together(rows: Sequence[Row]) -> list[bytes | Exception]:
    if len(rows) == 1:
        return [_read(rows[0])]
    start, end = rows[0]["offset"], max(map(_end, rows))
    try:
        content = _range(rows[0], start, end - start)
    except FileNotFoundError as error:
        return [error] * len(rows)

    def part(row: Row, offset: int, size: int) -> bytes:
        return content[offset - start : offset - start + size] if offset + size <= end else _range(row, offset, size)

    return [_read(row, partial(part, row)) for row in rows]


def _read(row: Row, read: Range | None = None, most: int = MOST_BYTES) -> bytes | Exception:
    try:
        size = _size(row)
        if size > most:
            raise TooLargeError(f"too large: {size:,} bytes; of one file at most {most:,} are read")
        return _READERS[row["codec"]](row, read or partial(_range, row))
    except (StorageUnavailableError, MemoryError):
        raise
    except Exception as error:  # one file's fault, whatever it is
        return error


class TooLargeError(Exception):
    """A file of more bytes than are read into memory."""


def _size(row: Row) -> int:
    """Return how many bytes a file has when it is decompressed, as its archive tells."""
    return int(row["stamp"].partition("-")[2]) if row["codec"] == "deflated" else int(row["size"])


class _BrokenMemberError(Exception):
    """A member of an archive that does not hold what the archive's list says."""


def _whole(row: Row, _: Range) -> bytes:
    """Read a file: one request of the system, where the file is as large as it was when it was listed."""
    if is_remote(row["file"]):
        return read_bytes(row["file"])
    with open_regular(row["file"], buffering=0) as file:
        content = file.read(row["size"] + 1)
        if len(content) > row["size"]:  # it has grown since
            content += file.read(MOST_BYTES)
        return content


def _stored(row: Row, read: Range) -> bytes:
    """Read a zip member: its own header, whose length the archive's list does not tell, and the bytes after it."""
    content = read(row["offset"], _BEFORE + row["size"])
    if len(content) < _LOCAL_HEADER.size or content[:4] != b"PK\x03\x04":
        raise _BrokenMemberError("broken archive: no file starts where its list says")
    _, name, extra = _LOCAL_HEADER.unpack_from(content)
    start = _LOCAL_HEADER.size + name + extra
    content = content[start : start + row["size"]]
    if len(content) < row["size"]:
        content = read(row["offset"] + start, row["size"])
    checksum, _, size = row["stamp"].partition("-")
    # no more than the list promises, whatever the bytes would expand to
    data = _expanded(content, int(size)) if row["codec"] == "deflated" else content
    if len(content) < row["size"] or len(data) != int(size) or f"{zlib.crc32(data):08x}" != checksum:
        raise _BrokenMemberError("broken archive: the checksum does not fit")
    return data


def _expanded(content: bytes, size: int) -> bytes:
    """Decompress; one byte more than promised tells that the archive's list is wrong."""
    whole, inflate = io.BytesIO(), zlib.decompressobj(wbits=-15)
    for start in range(0, len(content), _AT_ONCE):
        whole.write(inflate.decompress(content[start : start + _AT_ONCE]))
        if whole.tell() > size:
            break
    return whole.getvalue()  # without a copy


def _tar(row: Row, read: Range) -> bytes:
    content = read(row["offset"], row["size"])
    if len(content) < row["size"]:
        raise _BrokenMemberError("broken archive: it ends in this file")
    return content


def _compressed_tar(row: Row, _: Range) -> bytes:
    stream = _stream(row["file"], row["codec"], row["stamp"])
    stream.seek(row["offset"])  # forward by decompressing, backward by starting again
    content: bytes = stream.read(row["size"])
    if len(content) < row["size"]:
        raise _BrokenMemberError("broken archive: it ends in this file")
    return content


@lru_cache(maxsize=2)
def _stream(file: str, codec: str, stamp: str) -> Any:
    """Keep a compressed archive open where it was read last: rows are asked for in the archive's order, mostly."""
    return DECOMPRESSED[codec](open_file(file))


def _range(row: Row, start: int, size: int) -> bytes:
    if not is_remote(row["file"]):
        with open_regular(row["file"]) as local:
            local.seek(start)
            return local.read(size)
    file = _opened(row["file"])
    if start + size > file.size:  # behind the end, or that of an older and shorter archive of this name
        _opened.cache_clear()
        file = _opened(row["file"])
    return file.read_at(size, start)


@lru_cache(maxsize=16)
def _opened(file: str) -> RemoteFile:
    """Keep archives in object storage open: to open one is a request."""
    opened: RemoteFile = open_ranges(file)
    return opened


_READERS = {
    "file": _whole,
    "stored": _stored,
    "deflated": _stored,
    "tar": _tar,
    "tar.gz": _compressed_tar,
    "tar.bz2": _compressed_tar,
    "tar.xz": _compressed_tar,
}
