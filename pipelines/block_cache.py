"""Blocks as files of this machine: where they lie in object storage, each is fetched once."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import xxhash

from pipelines.atomic import write_atomically
from pipelines.manifest import BlockEntry, Manifest
from pipelines.storage import StorageUnavailableError, is_remote, join, read_bytes

_BLOCKS_AT_ONCE = 4  # fetched; each is held in memory until it is written


def local_blocks(folder: str, manifest: Manifest) -> list[Path]:
    """Return the block files of a data set on this machine, in order.

    Args:
        folder: where the blocks lie, a path or a URL.
        manifest: of the data set.

    Raises:
        StorageUnavailableError: a block cannot be fetched, or is not what the manifest says.
    """
    if not is_remote(folder):
        return [Path(folder) / block.file for block in manifest.blocks]
    cache = _cache_folder()
    with ThreadPoolExecutor(_BLOCKS_AT_ONCE) as pool:
        return list(pool.map(lambda block: _fetched(folder, block, cache), manifest.blocks))


def _fetched(folder: str, block: BlockEntry, cache: Path) -> Path:
    file = cache / f"{block.digest}.arrow"
    if file.is_file():
        return file
    url = join(folder, block.file)
    try:
        content = read_bytes(url)
    except FileNotFoundError:
        raise StorageUnavailableError(f"{url}: the block is gone; `kindred ingest` makes it again") from None
    if xxhash.xxh3_128_hexdigest(content) != block.digest:
        raise StorageUnavailableError(
            f"{url}: not the block that was written there; once it is deleted, `kindred ingest` makes it again"
        )
    write_atomically(file, content)
    return file


def _cache_folder() -> Path:
    """Blocks are named by their hash, so that all cases and runs of a user share them."""
    base = os.environ.get("KINDRED_BLOCK_CACHE") or os.path.join(tempfile.gettempdir(), f"kindred-blocks-{os.getuid()}")
    folder = Path(base)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StorageUnavailableError(f"{folder} belongs to another user; KINDRED_BLOCK_CACHE names another folder")
    return folder
