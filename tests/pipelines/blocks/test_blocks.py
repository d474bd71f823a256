"""Rows are read from mapped blocks as they stand there, whatever is missing, and memory does not grow with them."""

import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from pipelines.blocks.cache import BlockFiles, DamagedBlockError, local_blocks
from pipelines.blocks.label_encoding import label_array
from pipelines.blocks.reader import BlockReader
from tests.pipelines.blocks.block_files import KIND, block_table, traits, write_blocks

RNG = np.random.Generator(np.random.PCG64(0))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KINDRED_BLOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("width", [1, 3, 7, 8, 9, 40])
@pytest.mark.parametrize("excluded", [(), (0, 1, 5, 99, 101), tuple(range(0, 150, 2))])
def test_rows_are_those_of_the_blocks_less_what_is_excluded(tmp_path, width, excluded):
    rng = np.random.Generator(np.random.PCG64(width))
    tasks = [KIND, traits(width)]
    tables = [block_table(rows, tasks, (3, 4, 5), rng, first) for first, rows in ((0, 100), (100, 0), (100, 61))]
    manifest = write_blocks(tmp_path / "blocks", tables, excluded=excluded)
    reader = BlockReader(local_blocks(str(tmp_path / "blocks"), manifest), tasks, manifest.excluded)

    whole = pa.concat_tables(tables)
    kept = np.setdiff1d(np.arange(161), excluded)
    inputs = whole["input"].combine_chunks().to_numpy_ndarray()[kept]
    expected = {task.name: label_array(whole[task.name], task)[kept] for task in tasks}
    assert len(reader) == len(kept)
    assert reader.ids == np.array(whole["id"].to_pylist())[kept].tolist()
    for rows in (rng.integers(0, len(kept), 50), np.arange(len(kept)), np.array([len(kept) - 1]), np.arange(0)):
        batch = reader.gather(rows)
        assert np.array_equal(batch.inputs, inputs[rows])
        for name, labels in expected.items():
            assert batch.labels[name].dtype == labels.dtype
            assert np.array_equal(batch.labels[name], labels[rows])
            assert np.array_equal(reader.labels(name), labels)


@pytest.mark.parametrize("labels", [[True, False], [None, True], [None, None]])
def test_columns_without_a_bitmap_or_without_anything_are_read_too(tmp_path, labels):
    tasks = [KIND, traits(2)]
    table = block_table(9, tasks, (4,), np.random.Generator(np.random.PCG64(0)))
    same = pa.FixedSizeListArray.from_arrays(pa.array(labels * 9, pa.bool_()), 2)
    classes = pa.array([2] * 9 if labels[0] else [None] * 9, pa.int32())
    table = table.set_column(2, table.schema.field("kind"), classes).set_column(3, table.schema.field("traits"), same)
    manifest = write_blocks(tmp_path / "blocks", [table])
    reader = BlockReader(local_blocks(str(tmp_path / "blocks"), manifest), tasks)
    assert reader.labels("kind").tolist() == [2 if labels[0] else -1] * 9
    assert reader.labels("traits").tolist() == [[-1 if one is None else int(one) for one in labels]] * 9


def test_parts_of_labels_make_up_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.blocks.reader._ROWS_OF_A_PART", 7)
    tasks = [KIND, traits(5)]
    tables = [block_table(20, tasks, (2,), np.random.Generator(np.random.PCG64(i))) for i in range(3)]
    reader = BlockReader(local_blocks(str(tmp_path), write_blocks(tmp_path, tables)), tasks)
    parts = [part["traits"] for part in reader.label_parts(["traits"])]
    assert [len(part) for part in parts] == [7] * 8 + [4]
    whole = pa.concat_tables(tables)["traits"]
    assert np.array_equal(np.concatenate(parts), label_array(whole, tasks[1]))
    empty = BlockReader(BlockFiles(()), tasks)
    assert [part["traits"].shape for part in empty.label_parts(["traits"])] == [(0, 5)]


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from pipelines.blocks.cache import BlockFiles
from pipelines.blocks.reader import BlockReader
from tests.pipelines.blocks.block_files import KIND, traits

def private():  # KiB of this process alone: not of mapped files, which the system takes back when it likes
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("RssAnon")))

file, rows = Path(sys.argv[1]), int(sys.argv[2])
tasks = [KIND, traits(40)]
small = BlockReader(BlockFiles((file,)), tasks)
rng = np.random.Generator(np.random.PCG64(0))
small.gather(rng.integers(0, len(small), 128))
before = private()
reader = BlockReader(BlockFiles((file,) * (rows // len(small))), tasks, excluded=range(0, 1000, 10))
for _ in range(100):
    reader.gather(rng.integers(0, len(reader), 128))
print(len(reader), private() - before)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """Two million rows whose labels alone would be 96 MB as arrays, and 16 MB as a number a row."""
    manifest = write_blocks(tmp_path, [block_table(20_000, [KIND, traits(40)], (1,), RNG)])
    file = tmp_path / manifest.blocks[0].file
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(file), "2000000"], capture_output=True, text=True, check=True
    )
    rows, grown = map(int, done.stdout.split())
    assert rows == 2_000_000 - 100
    assert grown < 4 * 1024, f"{grown} KiB"


def test_a_byte_that_flips_on_disk_is_told_before_it_is_trained_on(tmp_path):
    tasks = [KIND]
    tables = [block_table(50, tasks, (3, 4, 5), np.random.Generator(np.random.PCG64(i))) for i in range(3)]
    folder = tmp_path / "blocks"
    manifest = write_blocks(folder, tables)
    local_blocks(str(folder), manifest)
    file = folder / "1.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    wrong = (
        f"{re.escape(str(file))}: its bytes are not those that the ingest wrote.*Delete the file, and `kindred ingest`"
    )
    for _ in range(2):
        with pytest.raises(DamagedBlockError, match=wrong):
            local_blocks(str(folder), manifest)
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert local_blocks(str(folder), manifest).files == tuple(folder / f"{i}.arrow" for i in range(3))
    file.unlink()
    with pytest.raises(DamagedBlockError, match=r"1.arrow: the block is gone; `kindred ingest` makes it again"):
        local_blocks(str(folder), manifest)


def test_what_was_read_is_remembered_and_a_damaged_memory_is_made_again(tmp_path, cache):
    """How a file that was changed is noticed: test_changed_in_place.py."""
    manifest = write_blocks(tmp_path / "blocks", [block_table(50, [KIND], (2,), RNG)])
    local_blocks(str(tmp_path / "blocks"), manifest)
    (memo,) = (cache / ".checked").glob("*.json")
    remembered, written = memo.read_bytes(), memo.stat().st_mtime_ns
    local_blocks(str(tmp_path / "blocks"), manifest)
    assert memo.stat().st_mtime_ns == written, "nothing was read again"
    memo.write_text("{")  # as a crash of the machine may leave it
    local_blocks(str(tmp_path / "blocks"), manifest)
    assert memo.read_bytes() == remembered
