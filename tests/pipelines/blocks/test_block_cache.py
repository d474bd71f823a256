"""Blocks of object storage on this machine: bounded, shared by processes, and what a process uses stays."""

import os
import stat
import subprocess
import sys

import numpy as np
import pytest

from mtlcore import Multiclass
from pipelines.base.atomic import write_atomically
from pipelines.base.errors import UserError
from pipelines.base.storage import StorageUnavailableError, join, read_bytes
from pipelines.blocks.cache import DamagedBlockError, cache_folder, local_blocks
from pipelines.blocks.reader import BlockReader
from tests.object_storage import environment_for, make_bucket, proxy, put, remove, s3_server, url_at
from tests.pipelines.blocks.block_files import KIND, block_table, write_blocks

ROWS = 40


@pytest.fixture(scope="module")
def s3():
    with s3_server() as port:
        make_bucket(port, "pets")
        yield port


@pytest.fixture
def stored(s3, tmp_path, monkeypatch):
    """Write datasets of a few blocks each to the bucket; return folder and manifest of each, and a block's bytes."""
    for name, value in environment_for(s3, KINDRED_BLOCK_CACHE=str(tmp_path / "cache")).items():
        monkeypatch.setenv(name, value)

    def store(names, blocks=2):
        found = []
        for i, name in enumerate(names):
            rng = np.random.Generator(np.random.PCG64(i))
            folder = f"s3://pets/{tmp_path.name}/{name}"
            found.append(
                (folder, write_blocks(folder, [block_table(ROWS, [KIND], (500,), rng) for _ in range(blocks)]))
            )
        return found, len(read_bytes(join(found[0][0], "0.arrow")))

    return store


def cached(tmp_path):
    return {file.stem for file in (tmp_path / "cache").glob("*.arrow")}


def digests(*manifests):
    return {block.digest for manifest in manifests for block in manifest.blocks}


def test_the_least_recently_used_goes_first_and_the_bound_is_kept(stored, tmp_path, monkeypatch):
    ((a, of_a), (b, of_b), (c, of_c)), size = stored("abc")
    monkeypatch.setenv("KINDRED_BLOCK_CACHE_GB", str(4.5 * size / 1e9))
    for folder, manifest in ((a, of_a), (b, of_b), (a, of_a)):
        local_blocks(folder, manifest)
    assert cached(tmp_path) == digests(of_a, of_b)
    local_blocks(c, of_c)
    assert cached(tmp_path) == digests(of_a, of_c), "b was used before a was used again"


def test_what_is_in_use_stays_and_blocks_that_do_not_fit_beside_it_are_told(stored, tmp_path, monkeypatch):
    ((a, of_a), (b, of_b)), size = stored("ab")
    monkeypatch.setenv("KINDRED_BLOCK_CACHE_GB", str(3 * size / 1e9))
    held = BlockReader(local_blocks(a, of_a), [KIND])
    with pytest.raises(UserError, match=r"KINDRED_BLOCK_CACHE_GB: the blocks of s3://.*/b.* beside .* processes use"):
        local_blocks(b, of_b)
    assert cached(tmp_path) == digests(of_a)
    del held
    local_blocks(b, of_b)
    assert cached(tmp_path) >= digests(of_b)
    monkeypatch.setenv("KINDRED_BLOCK_CACHE_GB", str(size / 1e9))
    with pytest.raises(UserError, match=r"every step reads rows of all blocks; expected a larger bound"):
        local_blocks(a, of_a)
    monkeypatch.setenv("KINDRED_BLOCK_CACHE_GB", "many")
    with pytest.raises(
        UserError, match=r"KINDRED_BLOCK_CACHE_GB: found 'many'; expected a number of gigabytes above 0"
    ):
        local_blocks(a, of_a)


HOLDER = """
import sys
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.manifest import Manifest
held = local_blocks(sys.argv[1], Manifest.model_validate_json(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


def holder(folder, manifest):
    """A process that uses a dataset's blocks until its standard input ends."""
    command = [sys.executable, "-c", HOLDER, folder, manifest.model_dump_json()]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_living_processes_blocks_stay_and_a_killed_ones_do_not(stored, tmp_path, monkeypatch):
    ((a, of_a), (b, of_b)), size = stored("ab")
    monkeypatch.setenv("KINDRED_BLOCK_CACHE_GB", str(3 * size / 1e9))
    with holder(a, of_a) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="beside"):
            local_blocks(b, of_b)
        process.kill()
    local_blocks(b, of_b)
    assert cached(tmp_path) >= digests(of_b)


def test_processes_that_start_at_once_fetch_every_block_once(s3, tmp_path, stored):
    ((_, of_a),), _ = stored("a", blocks=6)
    with proxy(s3) as passing:
        through = url_at(passing.port, f"pets/{tmp_path.name}/a")
        processes = [holder(through, of_a) for _ in range(3)]
        for process in processes:
            assert process.stdout.readline() == "held\n"
        for process in processes:
            process.communicate()
    fetched = {path: n for (method, path), n in passing.requests.items() if method == "GET" and path.endswith(".arrow")}
    assert sorted(fetched.values()) == [1] * 6
    assert cached(tmp_path) == digests(of_a)


def test_a_cached_block_that_is_damaged_is_fetched_again_and_a_damaged_one_in_storage_is_told(s3, stored, tmp_path):
    ((a, of_a),), _ = stored("a")
    file = local_blocks(a, of_a).files[0]
    right = file.read_bytes()
    file.write_bytes(right[:100] + bytes([right[100] ^ 1]) + right[101:])
    assert local_blocks(a, of_a).files[0].read_bytes() == right
    file.write_bytes(right[: len(right) // 2])
    assert local_blocks(a, of_a).files[0].read_bytes() == right

    at = f"pets/{tmp_path.name}/a/0.arrow"
    put(s3, at, right[:100] + bytes([right[100] ^ 1]) + right[101:])
    assert local_blocks(a, of_a).files[0] == file, "this machine has it"
    file.unlink()
    with pytest.raises(DamagedBlockError, match=r"0.arrow.*not the block that was written there.*`kindred ingest`"):
        local_blocks(a, of_a)
    remove(s3, at)
    assert cached(tmp_path) == {of_a.blocks[1].digest}


def test_a_reader_whose_files_are_deleted_goes_on(stored, tmp_path):
    """Should somebody empty the cache: what is mapped stays until it is let go."""
    ((a, of_a),), _ = stored("a")
    reader = BlockReader(local_blocks(a, of_a), [Multiclass("kind", KIND.classes)])
    before = reader.gather(np.arange(len(reader)))
    for file in (tmp_path / "cache").glob("*.arrow"):
        file.unlink()
    after = reader.gather(np.arange(len(reader)))
    assert np.array_equal(after.inputs, before.inputs)
    assert np.array_equal(after.labels["kind"], before.labels["kind"])


def test_the_cache_is_a_folder_of_ones_own_and_no_link_that_somebody_planted(tmp_path, monkeypatch):
    monkeypatch.delenv("KINDRED_BLOCK_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(StorageUnavailableError, match="mode 777"):
        cache_folder()
    folder.rmdir()
    (tmp_path / "precious").mkdir()
    for to in ("precious", "nothing"):
        folder.symlink_to(tmp_path / to)
        with pytest.raises(StorageUnavailableError, match="is no folder"):
            cache_folder()
        folder.unlink()
    (tmp_path / "mine").symlink_to(tmp_path / "precious")  # a link that one names oneself is meant
    monkeypatch.setenv("KINDRED_BLOCK_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o022])
def test_whoever_may_read_what_is_written_is_for_the_umask_to_say(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "a" / "faces.arrow", b"faces")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "faces.arrow").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o777 & ~mask
