import ctypes
import mmap

import numpy as np
import pyarrow as pa
import pytest

from pipelines.blocks.write_buffer import WriteBuffer
from pipelines.blocks.writer import write_block

PAGE = mmap.PAGESIZE


def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def block(rows, seed):
    return pa.table({"id": np.random.default_rng(seed).integers(0, 1 << 40, rows)})


def test_blocks_that_share_a_buffer_are_those_of_fresh_memory(tmp_path):
    """What a larger block left in the memory is in no smaller one."""
    memory = WriteBuffer()
    for i, rows in enumerate([0, 1, 400_000, 3, 400_001, 0]):
        digest = write_block(str(tmp_path / "shared.arrow"), block(rows, i), memory)
        memory.lend()
        assert digest == write_block(str(tmp_path / "alone.arrow"), block(rows, i))
        assert (tmp_path / "shared.arrow").read_bytes() == (tmp_path / "alone.arrow").read_bytes()


def test_memory_is_used_again_until_more_is_needed():
    memory = WriteBuffer()
    large = address(memory.at_least(10 * PAGE))
    assert address(memory.at_least(PAGE + 1)) == large
    assert len(memory.at_least(10 * PAGE + 1)) == 10 * PAGE + 1


def test_a_block_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(OSError, match="taken"):
        write_block(str(tmp_path / "taken" / "0.arrow"), block(3, 0))
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
