"""The probe at the door: every node of a cluster has to see the storage."""

import os
import re

import pytest

from pipelines.base.errors import UserError
from pipelines.base.shared_storage import check_storage_is_shared
from pipelines.ingest.make_block import make_blocks


def test_a_node_that_does_not_see_the_storage_is_named(ray_local, tmp_path):
    check_storage_is_shared(str(tmp_path))
    assert list(tmp_path.iterdir()) == [], "the probe leaves nothing"
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        # A path that is the driver's alone, as a disk of its own machine is; elsewhere there may be a file of the name.
        with pytest.raises(UserError, match=r"^node [\d.]+ \(\w{12}\) cannot see storage\.path: "):
            check_storage_is_shared(f"/proc/self/fd/{folder}")
    finally:
        os.close(folder)
    assert list(tmp_path.iterdir()) == []


def test_storage_that_cannot_be_written_is_told(ray_local):
    with pytest.raises(UserError, match=r"^storage\.path: found '/proc/nothing', which cannot be written to"):
        check_storage_is_shared("/proc/nothing")


def test_a_node_that_came_later_writes_no_blocks_of_its_own(ray_local, tmp_path):
    job = f'{{"data_set": "train", "folder": "{tmp_path}/blocks", "key": "a", "older": []}}'
    (told,) = make_blocks({"chunks": [{"job": job, "rows": b""}]}, recipe=None)
    assert re.fullmatch(
        rf"node [\d.]+ \(\w{{12}}\) cannot see storage\.path: {re.escape(str(tmp_path))}/blocks is not there",
        told["unavailable"],
    )
    assert not (tmp_path / "blocks").exists()
