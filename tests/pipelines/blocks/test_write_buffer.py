import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.blocks.write_buffer import WriteBuffer, write_directly

PAGE = mmap.PAGESIZE
SIZES = [0, 1, PAGE - 1, PAGE, PAGE + 1, (3 << 20) + 5]


def written(folder, pages, size):
    file = folder / "written"
    file.write_bytes(b"")
    write_directly(str(file), pages, size)
    return file


def filled(memory, size, seed=0):
    pages = memory.at_least(size)
    pages[:size] = np.random.default_rng(seed).bytes(size)
    return pages


@pytest.mark.parametrize("folder", ["disk", "memory"])
def test_a_file_has_the_bytes_and_no_more(tmp_path, folder):
    if folder == "memory" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("no file system in memory here")
    place = tmp_path if folder == "disk" else Path("/dev/shm") / f"kindred-test-{os.getpid()}"
    place.mkdir(exist_ok=True)
    memory = WriteBuffer()
    try:
        for size in [*SIZES, *reversed(SIZES)]:  # what a larger file left in the memory is in no smaller one
            pages = filled(memory, size, seed=size)
            assert written(place, pages, size).read_bytes() == bytes(pages[:size])
    finally:
        (place / "written").unlink(missing_ok=True)
        if folder == "memory":
            place.rmdir()


def test_what_cannot_be_written_directly_is_written(tmp_path):
    """Memory that begins within a page stands for a device, or a file system, that asks for something else."""
    pages = filled(WriteBuffer(), (1 << 20) + PAGE)
    assert written(tmp_path, pages[1:], 1 << 20).read_bytes() == bytes(pages[1 : (1 << 20) + 1])


def test_a_failure_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_directly(str(tmp_path / "gone"), filled(WriteBuffer(), 5), 5)
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError, match="No space left"):
            write_directly("/dev/full", filled(WriteBuffer(), 5), 5)


def test_memory_begins_on_a_page_and_is_used_again():
    memory = WriteBuffer()

    def address(pages):
        return ctypes.addressof(ctypes.c_char.from_buffer(pages))

    large = address(memory.at_least(10 * PAGE))
    assert large % PAGE == 0
    assert address(memory.at_least(PAGE + 1)) == large
    assert len(memory.at_least(10 * PAGE + 1)) == 11 * PAGE


def test_memory_that_was_lent_is_written_to_and_read_as_before(tmp_path):
    memory = WriteBuffer()
    for seed in range(3):
        pages = filled(memory, 3 << 20, seed)
        assert written(tmp_path, pages, 3 << 20).read_bytes() == np.random.default_rng(seed).bytes(3 << 20)
        del pages
        memory.lend()


def pages_in_cache(file):
    """How many pages of a file the system holds in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = file.stat().st_size
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), size, flags=mmap.MAP_PRIVATE) as mapped:
        held = (ctypes.c_ubyte * -(-size // PAGE))()
        start = ctypes.c_char.from_buffer(mapped)
        at = ctypes.c_void_p(ctypes.addressof(start))
        del start  # a mapping that is looked at cannot be closed
        assert libc.mincore(at, ctypes.c_size_t(size), held) == 0
        return sum(one & 1 for one in held)


def written_by_hand(file, pages, size):
    """Write whole pages the plainest way there is; None where the system refuses."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    except (AttributeError, OSError):
        return None
    try:
        os.write(descriptor, pages[:size])
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return file


def test_the_page_cache_gets_nothing(tmp_path):
    size = 1 << 20
    pages = filled(WriteBuffer(), size)
    by_hand = written_by_hand(tmp_path / "by hand", pages, size)
    if by_hand is None or pages_in_cache(by_hand):
        pytest.skip("this file system keeps what is written directly in memory, too")
    other = tmp_path / "other"
    other.write_bytes(pages[:size])
    assert pages_in_cache(other) == size // PAGE
    assert pages_in_cache(written(tmp_path, pages, size)) == 0
