"""A tree of named files: a folder, on disk or in object storage, or a zip or tar archive read in place.

A tree lists its files as a table (schema ``FILES``); what stands in it is enough to read a file later, in another
process, without opening the tree again (``pipelines.sources.fetch``).
"""

import lzma
import os
import posixpath
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from stat import S_ISDIR, S_ISREG
from typing import Any
from zlib import error as zlib_error

import pyarrow as pa
import pyarrow.compute as pc

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.storage import (
    is_remote,
    join,
    list_below,
    open_file,
    open_ranges,
    read_bytes,
    stamp_of,
    stat,
)
from pipelines.sources.archives import DECOMPRESSED, archive_kind, is_folder
from pipelines.sources.fetch import fetch
from pipelines.sources.text_encoding import text_of_table

FILES = pa.schema(
    [
        ("name", pa.string()),  # below the tree
        ("file", pa.string()),  # path or URL of the file, or of the archive that holds it
        ("codec", pa.string()),  # how the bytes lie there: see fetch.py
        ("offset", pa.int64()),  # where in the archive
        ("size", pa.int64()),  # how many bytes there
        ("stamp", pa.string()),  # changes when the file does
        ("refused", pa.string()),  # why it is not read; null where it is
    ]
)

_NO_SIZE = 1 << 62  # bytes: no disk holds as many
_READ_AT_ONCE = 1 << 20  # bytes behind an archive's end, a multiple of tar's blocks
_AT_ONCE = 4096  # rows of a listing turned into Arrow at a time; many small objects at once are slow to collect
_ASKED_FOR_ONE_BY_ONE = 4  # files in object storage; for more, their folder is listed


class BrokenArchiveError(Exception):
    """An archive that cannot be listed."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(url, why)
        self.url, self.why = url, why

    def __str__(self) -> str:
        """Name the archive, and say why."""
        return f"{self.url}: broken archive: {self.why}"


class Tree:
    """The files below a folder of a place.

    Args:
        url: a folder, or an archive.
        below: a folder in the archive; names are relative to it.

    Attributes:
        name: the place as a message names it.
    """

    def __init__(self, url: str, below: str = "") -> None:
        self.url = url
        self.below = below.strip("/")
        self.archive = None if is_folder(url) else archive_kind(url) or "zip"
        self.name = f"{url}!{self.below}" if self.archive and self.below else url
        if not self.archive and self.below:
            self.url, self.below, self.name = join(url, self.below), "", join(url, self.below)

    def __str__(self) -> str:
        return self.name

    @cached_property
    def files(self) -> pa.Table:
        """Every file, sorted by name; schema ``FILES``.

        Raises:
            BrokenArchiveError: the archive cannot be listed at all.
            OSError: the place cannot be read.
        """
        listed = {"zip": self._zip, None: self._folder}.get(self.archive, self._tar)
        chunks: list[pa.RecordBatch] = []
        rows: list[tuple[Any, ...]] = []
        prefix = f"{self.below}/" if self.below else ""
        for row in listed():
            if self.archive and _hidden(row[0]):
                continue
            if not is_text(row[0]):
                named, place = (part.encode(errors="backslashreplace").decode() for part in row[:2])
                row = (named, place, *row[2:-1], row[-1] or "a name that is no text")
            if row[0].startswith(prefix):
                rows.append((row[0][len(prefix) :], *row[1:]))
            if len(rows) == _AT_ONCE:
                chunks.append(_batch(rows))
                rows = []
        table = pa.Table.from_batches([*chunks, _batch(rows)], schema=FILES)
        return table.take(pc.sort_indices(table["name"]))

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        names: list[str] = self.files["name"].to_pylist()
        return names

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            UserError: there is no such file (the nearest name is told), or it cannot be read.
        """
        if self.archive is None:
            try:
                return read_bytes(join(self.url, name))
            except FileNotFoundError:
                near = did_you_mean(name, self.names())
                raise UserError(f"{self}: there is no file {name!r}{near}") from None
            except OSError as error:
                raise UserError(f"{self}: {name!r} cannot be read: {error}") from None
        rows = self.find(pa.array([name]))
        if rows["refused"][0].as_py() is not None:
            raise UserError(f"{self}: {name!r}: {rows['refused'][0]}{did_you_mean(name, self.names())}")
        (content,) = fetch(rows)
        if isinstance(content, Exception):
            raise UserError(f"{self}: {name!r} cannot be read: {content}")
        assert isinstance(content, bytes)
        return content

    def read_text(self, name: str) -> str:
        """Return a file's text, which must be UTF-8 (a byte-order mark is dropped).

        Raises:
            UserError: there is no such file, or it is not UTF-8.
        """
        content = self.read(name)
        try:
            return text_of_table(content)
        except ValueError as error:
            raise UserError(f"{self}: {name!r}: {error}") from None

    def find(self, names: pa.Array) -> pa.Table:
        """Find files by name.

        Args:
            names: string; ``..`` and absolute paths are followed on disk and refused in an archive.

        Returns:
            one row per name, schema ``FILES``; ``refused`` says it where there is no such file.
        """
        if self.archive is None and not is_remote(self.url):
            encoded = pc.fill_null(_one_array(names), "").dictionary_encode()
            return pa.Table.from_batches([self._found_on_disk(encoded.dictionary)]).take(encoded.indices)
        if self.archive is None and len(names) <= _ASKED_FOR_ONE_BY_ONE:
            return pa.Table.from_batches([_batch(self._asked_for(names.to_pylist()))])
        plain = pa.array([None if n is None else posixpath.normpath(n.replace("\\", "/")) for n in names.to_pylist()])
        indices = pc.index_in(plain, self.files["name"])
        rows = self.files.take(indices)
        outside = [None if n is None or not _unsafe(n) else _UNSAFE for n in plain.to_pylist()]
        refused = pc.coalesce(
            pc.if_else(pc.is_null(indices), pa.array(outside, pa.string()), None),
            pc.if_else(pc.is_null(indices), "missing file", None),
            rows["refused"].combine_chunks() if len(rows) else pa.array([], pa.string()),
        )
        rows = rows.set_column(0, "name", plain.cast(pa.string()))
        return rows.set_column(FILES.get_field_index("refused"), "refused", refused)

    def _found_on_disk(self, names: pa.Array) -> pa.RecordBatch:
        """Look up different names on disk; one by one, so as fast as may be."""
        base = os.path.join(self.url, "")
        paths, sizes, stamps, refused = [], [], [], []
        for name in names.to_pylist():
            path = name if name.startswith("/") else base + name
            why: str | None = "missing file"
            try:
                status = os.stat(path)
                why = None if S_ISREG(status.st_mode) else NO_FILE if not S_ISDIR(status.st_mode) else why
            except (OSError, ValueError):
                pass
            paths.append(path)
            sizes.append(status.st_size if why is None else 0)
            stamps.append(stamp_of(status) if why is None else "")
            refused.append(why)
        n = len(names)
        columns = [names, paths, pa.repeat("file", n), pa.repeat(0, n), sizes, stamps, refused]
        arrays = [pa.array(c, f.type) if isinstance(c, list) else c for c, f in zip(columns, FILES, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=FILES)

    def _asked_for(self, names: Iterable[str | None]) -> Iterator[tuple[Any, ...]]:
        """Look up names in object storage, a request each."""
        for raw_name in names:
            name = posixpath.normpath((raw_name or "").replace("\\", "/"))
            url = join(self.url, name)
            try:
                if not raw_name or _unsafe(name):
                    raise FileNotFoundError
                info = stat(url)
                yield name, url, "file", 0, info.size, info.stamp, None
            except FileNotFoundError:
                yield name, url, "file", 0, 0, "", _UNSAFE if raw_name and _unsafe(name) else "missing file"

    def _folder(self) -> Iterator[tuple[Any, ...]]:
        folder = None if is_remote(self.url) else os.path.join(self.url, "")
        for file in list_below(self.url):
            url = join(self.url, file.name) if folder is None else folder + file.name
            yield file.name, url, "file", 0, file.size, file.stamp, None if file.regular else NO_FILE

    def _zip(self) -> Iterator[tuple[Any, ...]]:
        try:
            with open_ranges(self.url) as file, zipfile.ZipFile(file) as archive:
                members = archive.infolist()
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            raise BrokenArchiveError(self.url, str(error)) from None
        codecs = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
        for member in members:
            if member.is_dir() or member.filename.endswith("\\"):
                continue
            codec = codecs.get(member.compress_type)
            refused = _UNSAFE if _unsafe(member.filename) else None
            if member.flag_bits & 1:
                refused = refused or "encrypted"
            if codec is None:
                refused = refused or f"compressed in a way that is not read (zip method {member.compress_type})"
            if max(member.file_size, member.compress_size) >= _NO_SIZE or member.header_offset >= _NO_SIZE:
                refused, member.compress_size, member.header_offset = refused or "broken archive: no such size", 0, 0
            stamp = f"{member.CRC:08x}-{member.file_size}"
            yield (
                plain_name(member.filename),
                self.url,
                codec,
                member.header_offset,
                member.compress_size,
                stamp,
                refused,
            )

    def _tar(self) -> Iterator[tuple[Any, ...]]:
        assert self.archive is not None
        stamp = stat(self.url).stamp
        for member, refused in tar_members(self.url):
            yield plain_name(member.name), self.url, self.archive, member.offset_data, member.size, stamp, refused


def tar_members(url: str) -> Iterator[tuple[tarfile.TarInfo, str | None]]:
    """Yield the members of a tar archive that are no folders, each with why it is refused or None.

    Raises:
        BrokenArchiveError: it is no tar archive, or ends in its middle.
    """
    open_stream = DECOMPRESSED.get(archive_kind(url) or "")
    try:
        with open_file(url) as raw:
            stream: Any = open_stream(raw) if open_stream else raw
            yield from _members_to_the_end(url, stream)
    except FileNotFoundError:
        raise
    except (
        tarfile.TarError,
        EOFError,
        lzma.LZMAError,
        zlib_error,
        OSError,
        ValueError,
        OverflowError,
    ) as error:  # bz2 raises a bare OSError, a size that nothing has a ValueError
        raise BrokenArchiveError(url, str(error)) from None


def _members_to_the_end(url: str, stream: Any) -> Iterator[tuple[tarfile.TarInfo, str | None]]:
    """Yield the members of an archive, and of those that are appended to it, as `cat a.tar b.tar` makes them."""
    start: int | None = 0
    while start is not None:
        stream.seek(start)
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                plain = member.isreg() and not member.issparse()
                yield member, _UNSAFE if _unsafe(member.name) else None if plain else "no plain file"
                vars(archive)["members"] = []  # else it keeps every member
            # tarfile takes anything but a header for the end; the true end is a block of zeros
            stream.seek(archive.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise BrokenArchiveError(url, f"it stops at byte {archive.offset} without its end")
        start = _after_zeros(stream)


def _after_zeros(stream: Any) -> int | None:
    """Return where the next block begins that is not of zeros; None at the end, where a checksum has been looked at."""
    while chunk := stream.read(_READ_AT_ONCE):
        zeros = len(chunk) - len(chunk.lstrip(b"\0"))
        if zeros < len(chunk):
            return int(stream.tell()) - len(chunk) + zeros // tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
    return None


def plain_name(name: str) -> str:
    """Return a member's name with slashes, and without a leading ``./``, as tar writes it for what it was given as
    ``.``. Older programs of Windows write backslashes into zip archives."""
    name = name.replace("\\", "/")
    while name.startswith("./"):
        name = name[2:]
    return name


def _hidden(name: str) -> bool:
    """Say whether a member is one that nobody put there: macOS's own, or one whose name starts with a dot."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") and part != ".." for part in parts)


def is_text(name: str) -> bool:
    """Say whether a name can be written as UTF-8; on disk and in archives there are others."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _one_array(values: Any) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


NO_FILE = "not a regular file"  # a pipe, a socket or a device: to open it may wait for ever
_UNSAFE = "refused: an absolute path or '..' in an archive"


def _unsafe(name: str) -> bool:
    name = name.replace("\\", "/")
    return name.startswith("/") or ".." in name.split("/") or name[1:3] == ":/"


def _batch(rows: Iterable[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(FILES)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, FILES, strict=True)], schema=FILES
    )
