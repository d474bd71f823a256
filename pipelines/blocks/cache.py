"""The block cache: blocks as verified local files, fetched from object storage where they lie there.

Blocks on disk are used where they lie. Those in object storage are fetched to a folder that all cases, runs and
processes of a user on this machine share::

    <digest>.arrow              a block, named by the hash of its bytes
    .in-use/<random>.json       digests that one process uses; it lives while it holds <random>.lock
    .checked/<fingerprint>.json which files of a dataset have been read and found right, by size, times and inode
    .lock, .lock-0 ... .lock-f  held while room is made; while a block is fetched, by its digest's first letter

The folder has a bound. What is least recently used goes first, and what a process that lives uses never goes; where
its blocks do not fit beside those, a process is told so before it fetches any. Every step reads rows of all blocks, so
fetching them in turn would be far slower than any network trains.
"""

import json
import os
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

import xxhash
from filelock import BaseFileLock, FileLock, Timeout

from pipelines.base.atomic import write_atomically
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import StorageUnavailableError, is_remote, join, list_below, read_bytes
from pipelines.blocks.manifest import BlockEntry, Manifest

_FILES_AT_ONCE = 4  # fetched or checked; what is fetched is held in memory until it is written
_OF_THE_DISK = 0.9  # the bound where none is given: of what is free and what the cache holds
_FORSAKEN_AFTER_S = 3600  # a file half written is left by a process that was killed


class DamagedBlockError(Exception):
    """A block's bytes are not those that the ingest wrote; the message names it and says what to do."""


@dataclass(frozen=True)
class BlockFiles:
    """The block files of a dataset on this machine, in order; the cache keeps them for as long as this is held."""

    files: tuple[Path, ...]
    lease: "Lease | None" = None


class Lease:
    """Blocks of the cache that this process uses; given back with :meth:`end`, or when the process ends."""

    def __init__(self, record: Path, lock: BaseFileLock) -> None:
        self._record, self._lock = record, lock

    def end(self) -> None:
        """Give the blocks back."""
        self._record.unlink(missing_ok=True)
        self._lock.release()
        Path(self._lock.lock_file).unlink(missing_ok=True)

    __del__ = end


def local_blocks(folder: str, manifest: Manifest, *, check: bool = True) -> BlockFiles:
    """Return the block files of a dataset on this machine, those in object storage fetched.

    Every file is read once and compared with the manifest's hash; it is read again only when its size, a time of
    change or inode is another.

    Args:
        folder: where the blocks lie, a path or a URL.
        manifest: of the dataset.
        check: False to take files on disk as they are.

    Raises:
        DamagedBlockError: a block is gone from a folder, or is not what the manifest says.
        StorageUnavailableError: a block cannot be fetched, or is gone from object storage.
        UserError: the blocks do not fit the cache.
    """
    cache = cache_folder()
    checked = _Checked(cache, folder, manifest)
    if not is_remote(folder):
        files = tuple(Path(folder) / block.file for block in manifest.blocks)
        if check:
            # One process reads the files, the others wait and take its word: at once they would slow each other.
            with FileLock(checked.lock), checked, ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
                for file, right in zip(files, pool.map(checked.is_right, files, manifest.blocks), strict=True):
                    if not right:
                        raise DamagedBlockError(
                            f"{file}: its bytes are not those that the ingest wrote; nothing was trained on them. "
                            "Delete the file, and `kindred ingest` makes the block again"
                        )
        return BlockFiles(files)

    lease = _reserve(cache, folder, manifest.blocks)

    def ready(block: BlockEntry) -> Path:
        # Sixteen locks, not one: processes fetch different blocks at once, and none is fetched twice.
        with FileLock(cache / f".lock-{block.digest[0]}"):
            file = cache / f"{block.digest}.arrow"
            if not (file.is_file() and checked.is_right(file, block)):
                _fetch(folder, block, file)
                checked.note(file, block)
            _used_now(file)
            return file

    with checked, ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return BlockFiles(tuple(pool.map(ready, manifest.blocks)), lease)


def cache_folder() -> Path:
    """Return the cache's folder, made if it is not there.

    Raises:
        StorageUnavailableError: it belongs to another user, others may write to it, or it is a link that nobody named:
            in a temporary folder anybody may have put it there, and what lies behind it would be deleted for room.
    """
    named = os.environ.get("KINDRED_BLOCK_CACHE")
    folder = Path(named or os.path.join(tempfile.gettempdir(), f"kindred-blocks-{os.getuid()}"))
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        status = folder.stat() if named else folder.lstat()
    except FileNotFoundError:  # a link to nothing
        status = folder.lstat()
    wrong = None
    if not S_ISDIR(status.st_mode):
        wrong = "is no folder"
    elif status.st_uid != os.getuid():
        wrong = "belongs to another user"
    elif status.st_mode & 0o022:
        wrong = f"has mode {status.st_mode & 0o777:o}, so others may write to it"
    if wrong is not None:
        raise StorageUnavailableError(
            f"{folder} {wrong}; expected a folder of your own that nobody else may write to (KINDRED_BLOCK_CACHE names "
            "another one)"
        )
    return folder


def _fetch(folder: str, block: BlockEntry, file: Path) -> None:
    url = join(folder, block.file)
    try:
        content = read_bytes(url)
    except FileNotFoundError:
        raise StorageUnavailableError(f"{url}: the block is gone; `kindred ingest` makes it again") from None
    if xxhash.xxh3_128_hexdigest(content) != block.digest:
        raise DamagedBlockError(
            f"{url}: not the block that was written there; once it is deleted, `kindred ingest` makes it again"
        )
    write_atomically(file, content)


def _reserve(cache: Path, folder: str, blocks: Sequence[BlockEntry]) -> Lease:
    """Make room for blocks, and keep what is there of them from being deleted."""
    # Before anything is fetched, and under one lock: two processes that each saw room would overfill the disk together.
    with FileLock(cache / ".lock"):
        cached = {file.stem: file.stat() for file in cache.glob("*.arrow")}
        sizes = {digest: status.st_size for digest, status in cached.items()}
        needed = {block.digest for block in blocks}
        if missing := [block for block in blocks if block.digest not in cached]:
            stored = {entry.name: entry.size for entry in list_below(folder)}
            # what is gone there is told when it is fetched
            sizes |= {block.digest: stored.get(block.file, 0) for block in missing}
        in_use = _in_use(cache)
        bound = _bound(cache, sum(status.st_size for status in cached.values()))
        required = sum(sizes[digest] for digest in needed) + sum(in_use[digest] for digest in in_use.keys() - needed)
        if required > bound:
            beside = f", beside {_gb(sum(in_use.values()))} that running processes use" if in_use else ""
            raise UserError(
                f"KINDRED_BLOCK_CACHE_GB: the blocks of {folder} take {_gb(sum(sizes[digest] for digest in needed))}"
                f"{beside}; {cache} may hold {_gb(bound)}, and every step reads rows of all blocks; expected a larger "
                "bound, another disk (KINDRED_BLOCK_CACHE), or storage.blocks in a folder that all machines share"
            )
        total = required + sum(
            status.st_size for digest, status in cached.items() if digest not in needed | in_use.keys()
        )
        for digest in sorted(cached.keys() - needed - in_use.keys(), key=lambda digest: cached[digest].st_atime_ns):
            if total <= bound:
                break
            (cache / f"{digest}.arrow").unlink(missing_ok=True)
            total -= cached[digest].st_size
        for scratch in cache.glob(".*.arrow.*"):
            if time.time() - scratch.stat().st_mtime > _FORSAKEN_AFTER_S:
                scratch.unlink(missing_ok=True)
        return _lease(cache, {digest: sizes[digest] for digest in needed})


def _lease(cache: Path, sizes: dict[str, int]) -> Lease:
    folder = cache / ".in-use"
    folder.mkdir(exist_ok=True)
    record = folder / f"{uuid.uuid4().hex}.json"
    lock = FileLock(record.with_suffix(".lock"), thread_local=False)  # whichever thread ends with it gives it back
    lock.acquire()
    record.write_text(json.dumps(sizes))
    return Lease(record, lock)


def _in_use(cache: Path) -> dict[str, int]:
    """Return the blocks, and their sizes, that processes use that live; forget those that ended without a word."""
    sizes: dict[str, int] = {}
    for record in (cache / ".in-use").glob("*.json"):
        lock = FileLock(record.with_suffix(".lock"))
        try:
            # Nobody holds it, so the process has ended; its number would not say so, it may be another's by now.
            with lock.acquire(timeout=0):
                record.unlink(missing_ok=True)
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            with suppress(FileNotFoundError):  # it has just been given back
                sizes |= json.loads(record.read_bytes())
    return sizes


def _bound(cache: Path, cached_bytes: int) -> float:
    setting = os.environ.get("KINDRED_BLOCK_CACHE_GB")
    if setting is None:
        return _OF_THE_DISK * (shutil.disk_usage(cache).free + cached_bytes)
    try:
        bound = float(setting) * 1e9
    except ValueError:
        bound = 0.0
    if not 0 < bound < float("inf"):
        raise UserError(f"KINDRED_BLOCK_CACHE_GB: found {setting!r}; expected a number of gigabytes above 0")
    return bound


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _used_now(file: Path) -> None:
    # By hand: most systems are mounted so that reading a file writes no time of access.
    status = file.stat()
    os.utime(file, ns=(time.time_ns(), status.st_mtime_ns))


class _Checked:
    """Which files of a dataset have been read and found to be what the ingest wrote; written when the block ends.

    What stands in memory alone when the process is killed is checked again. So is what two processes find at once and
    one of them overwrites.
    """

    def __init__(self, cache: Path, folder: str, manifest: Manifest) -> None:
        name = fingerprint([os.path.abspath(folder) if not is_remote(folder) else folder, manifest.content_hash])
        place = cache / ".checked"
        place.mkdir(exist_ok=True)
        self._file, self.lock = place / f"{name}.json", place / f"{name}.lock"
        self._in_place = not is_remote(folder)
        self._known: dict[str, list[int | str]] = {}
        self._changed, self._writing = False, threading.Lock()

    def __enter__(self) -> None:
        try:
            self._known = json.loads(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            self._known = {}

    def __exit__(self, *_: object) -> None:
        if self._changed:
            write_atomically(self._file, json.dumps(self._known))

    def is_right(self, file: Path, block: BlockEntry) -> bool:
        """Say whether a file holds the block; read it if it is not the one that was read before.

        Raises:
            DamagedBlockError: there is no such file.
        """
        try:
            stamp = self._stamp(file, block)
        except FileNotFoundError:
            raise DamagedBlockError(f"{file}: the block is gone; `kindred ingest` makes it again") from None
        if self._known.get(block.file) == stamp:
            return True
        digest, buffer = xxhash.xxh3_128(), memoryview(bytearray(1 << 20))
        with file.open("rb", buffering=0) as content:
            while size := content.readinto(buffer):
                digest.update(buffer[:size])
        if digest.hexdigest() != block.digest:
            return False
        self._remember(block.file, stamp)
        return True

    def note(self, file: Path, block: BlockEntry) -> None:
        """Remember a file whose bytes were right when it was written."""
        self._remember(block.file, self._stamp(file, block))

    def _remember(self, name: str, stamp: list[int | str]) -> None:
        with self._writing:
            self._known[name] = stamp
            self._changed = True

    def _stamp(self, file: Path, block: BlockEntry) -> list[int | str]:
        status = file.stat()
        stamp: list[int | str] = [block.digest, status.st_size, status.st_mtime_ns, status.st_ino]
        # Any program can set a file's mtime back, none its ctime. Not of the cache's own files: every use of one is
        # written into its times.
        return [*stamp, status.st_ctime_ns] if self._in_place else stamp
