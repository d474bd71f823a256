"""Read the bytes of files that a tree has listed, in whatever process the rows came to."""

import os
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pyarrow as pa

from pipelines.storage import StorageUnavailableError, is_remote, open_file, read_bytes

COMPRESSED = ("tar.gz", "tar.bz2", "tar.xz")
_REQUESTS_AT_ONCE = 16  # to object storage, where one answer takes longer than decoding a picture
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a zip member: signature, lengths of name and extra field


def fetch(files: pa.Table) -> Iterator[bytes | Exception]:
    """Yield the bytes of some files in their order; for one that cannot be read, why.

    Args:
        files: schema ``pipelines.sources.tree.FILES``; none of them refused.

    Raises:
        StorageUnavailableError: object storage does not answer.
    """
    rows = files.select(["file", "codec", "offset", "size", "stamp"]).to_pylist()
    in_order = any(row["codec"] in COMPRESSED for row in rows)  # one stream, read from front to back
    if rows and is_remote(rows[0]["file"]) and not in_order:
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            yield from pool.map(_read, rows)
        return
    for row in rows:
        yield _read(row)


def fetch_one(row: dict[str, Any]) -> bytes:
    """Return the bytes of one file.

    Raises:
        OSError: it cannot be read.
    """
    content = _read(row)
    if isinstance(content, Exception):
        raise OSError(str(content)) from content
    return content


def _read(row: dict[str, Any]) -> bytes | Exception:
    try:
        return _READERS[row["codec"]](row)
    except (FileNotFoundError, _BrokenMemberError, zlib.error, EOFError) as error:
        return error
    except OSError as error:
        if is_remote(row["file"]):
            raise StorageUnavailableError(f"{row['file']}: {error}") from error
        return error


class _BrokenMemberError(Exception):
    """A member of an archive that does not hold what the archive's list says."""


def _whole(row: dict[str, Any]) -> bytes:
    return read_bytes(row["file"])


def _stored(row: dict[str, Any]) -> bytes:
    """Read a zip member: its own header, whose length the archive's list does not tell, and the bytes after it."""
    before = _LOCAL_HEADER.size + 512  # in most archives, header and bytes come with one read
    content = _range(row, row["offset"], before + row["size"])
    if len(content) < _LOCAL_HEADER.size or content[:4] != b"PK\x03\x04":
        raise _BrokenMemberError("broken archive: no file starts where its list says")
    _, name, extra = _LOCAL_HEADER.unpack_from(content)
    start = _LOCAL_HEADER.size + name + extra
    content = content[start : start + row["size"]]
    if len(content) < row["size"]:
        content = _range(row, row["offset"] + start, row["size"])
    checksum, _, size = row["stamp"].partition("-")
    # no more than the list promises, whatever the bytes would expand to
    data = zlib.decompressobj(wbits=-15).decompress(content, int(size) + 1) if row["codec"] == "deflated" else content
    if len(content) < row["size"] or len(data) != int(size) or f"{zlib.crc32(data):08x}" != checksum:
        raise _BrokenMemberError("broken archive: the checksum does not fit")
    return data


def _tar(row: dict[str, Any]) -> bytes:
    content = _range(row, row["offset"], row["size"])
    if len(content) < row["size"]:
        raise _BrokenMemberError("broken archive: it ends in this file")
    return content


def _compressed_tar(row: dict[str, Any]) -> bytes:
    stream = _stream(row["file"], row["codec"], row["stamp"])
    stream.seek(row["offset"])  # forward by decompressing, backward by starting again
    content: bytes = stream.read(row["size"])
    if len(content) < row["size"]:
        raise _BrokenMemberError("broken archive: it ends in this file")
    return content


@lru_cache(maxsize=2)
def _stream(file: str, codec: str, stamp: str) -> Any:
    """Keep a compressed archive open where it was read last: rows are asked for in the archive's order, mostly."""
    from pipelines.sources.tree import DECOMPRESSED

    return DECOMPRESSED[codec](open_file(file))


def _range(row: dict[str, Any], start: int, size: int) -> bytes:
    with _opened(row["file"]) as file:
        if is_remote(row["file"]):
            end = min(start + size, file.size())
            content: bytes = file.read_at(max(0, end - start), start)
            return content
        return os.pread(file.fileno(), size, start)


def _opened(file: str) -> Any:
    return open_file(file)


_READERS = {
    "file": _whole,
    "stored": _stored,
    "deflated": _stored,
    "tar": _tar,
    "tar.gz": _compressed_tar,
    "tar.bz2": _compressed_tar,
    "tar.xz": _compressed_tar,
}
