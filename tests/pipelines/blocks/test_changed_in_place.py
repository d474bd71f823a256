"""A block that is changed where it lies is never trained on, whatever its mtime says."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.blocks.cache import DamagedBlockError, local_blocks
from tests.pipelines.blocks.block_files import KIND, block_table, write_blocks


def test_a_block_changed_in_place_with_its_old_mtime_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("KINDRED_BLOCK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "pets"
    folder.mkdir()
    rng = np.random.Generator(np.random.PCG64(0))
    manifest = write_blocks(str(folder), [block_table(40, [KIND], (500,), rng)])
    file = local_blocks(str(folder), manifest).files[0]
    before = Path(file).stat()
    with file.open("r+b") as opened:
        opened.seek(before.st_size // 2)
        byte = opened.read(1)
        opened.seek(before.st_size // 2)
        opened.write(bytes([byte[0] ^ 1]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = Path(file).stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    with pytest.raises(DamagedBlockError, match="nothing was trained on them"):
        local_blocks(str(folder), manifest)
