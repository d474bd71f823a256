"""What a full disk, a folder of no rights and a home of none do: one message, and nothing of the user's is lost."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from pipelines.base.disk import check_writable, full_disk
from pipelines.base.errors import UserError
from pipelines.base.ray_session import set_own_token

# No file may become larger; what the system answers differs from a full disk's by a word.
WITH_A_LIMIT = """
import resource, sys
sys.dont_write_bytecode = True  # it would be cut off at the limit, and stay so
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from pipelines.base.disk import full_disk
from pipelines.base.storage import write_whole
try:
    write_whole(sys.argv[1], b"x" * 5000)
except OSError as error:
    print(full_disk(error))
"""


def test_a_full_disk_is_told_with_the_file_and_the_file_before_it_stays(tmp_path):
    file = tmp_path / "results.json"
    file.write_bytes(b"before")
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_LIMIT, str(file)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.startswith(f"{file}: {os.strerror(errno.EFBIG).lower()}; ")
    assert "all that was ingested and trained before is kept" in done.stdout
    assert "storage.path" in done.stdout
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]
    assert file.read_bytes() == b"before"


class _OfATaskError(Exception):
    """As Ray raises what a task has raised."""

    def __init__(self, cause):
        super().__init__("many lines of a traceback")
        self.cause = cause


def test_a_full_disk_is_found_behind_other_errors_and_in_no_other():
    full = OSError(errno.ENOSPC, "No space left on device", "/data/block")
    assert full_disk(_OfATaskError(full)).startswith("/data/block: ")
    ingest = RuntimeError("the ingest")
    ingest.__cause__ = full
    assert full_disk(ingest) is not None
    assert full_disk(OSError(errno.EACCES, "Permission denied", "/data")) is None
    assert full_disk(ValueError("No space left on device")) is None


def test_a_folder_that_cannot_be_written_to_is_told_with_its_key_and_made_nowhere(tmp_path):
    check_writable(str(tmp_path / "to" / "be" / "made"), "storage.path")
    assert list(tmp_path.iterdir()) == []
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    if os.access(closed, os.W_OK):  # of an administrator, whom rights do not hold: a file is no folder for anybody
        closed.rmdir()
        closed.touch(mode=0o600)
    with pytest.raises(UserError) as told:
        check_writable(str(closed / "runs"), "storage.path")
    assert f"storage.path: found '{closed / 'runs'}', and {closed} cannot be written to" in str(told.value)


@pytest.fixture
def no_token(monkeypatch):
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is as before at the end, whatever is set in between
    return monkeypatch


def test_where_no_home_can_be_written_to_a_rays_token_lies_beside_it_for_its_user_alone(tmp_path, no_token):
    (tmp_path / "home").touch()  # no folder: nobody can write below it
    no_token.setenv("HOME", str(tmp_path / "home"))
    session = tmp_path / "session"
    session.mkdir()
    assert set_own_token(str(session))
    file = session / "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) == 64
    (second := tmp_path / "second").mkdir()
    no_token.delenv("RAY_AUTH_TOKEN_PATH")
    assert set_own_token(str(second))  # a second Ray of this process, which knows the first one's token
    assert (second / "token").read_text() == file.read_text()


def test_a_home_as_usual_keeps_the_token_where_ray_has_it(tmp_path, no_token):
    no_token.setenv("HOME", str(tmp_path))
    assert not set_own_token(str(tmp_path))
    assert not os.environ["RAY_AUTH_TOKEN_PATH"]
    no_token.setenv("RAY_AUTH_TOKEN", "somebody's")
    no_token.setenv("HOME", "/nonexistent")
    assert not set_own_token(str(tmp_path))


# A block is the first file of an ingest that is larger.
INGEST_WITH_A_LIMIT = """
import json, pathlib, resource, sys
import pyarrow as pa
from pipelines.blocks.schema import block_schema
from pipelines.case.build import tasks_of
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import Recipe, make_blocks
from tests.pipelines.ingest_case import FOLDER, REST, case_of, picture, write, write_what_every_case_needs

root = pathlib.Path(sys.argv[1])
write_what_every_case_needs(root / "data")
for i in range(40):
    write(root / "data" / "pets" / "cat" / f"{i:02}.png", picture(i))
case = case_of(root / "data", root, REST | {"pets": FOLDER})
rows = list_data_set(case, "pets").rows
sink = pa.BufferOutputStream()
with pa.ipc.new_stream(sink, rows.schema) as writer:
    writer.write_table(rows)
(root / "blocks").mkdir()
job = json.dumps({"data_set": "pets", "folder": str(root / "blocks"), "key": "k", "older": []})
recipe = Recipe(dict(case.datasets), case.input, block_schema(case.input.shape, list(tasks_of(case).values())))
task = {"chunks": [{"job": job, "rows": sink.getvalue().to_pybytes()}]}
resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
(told,) = make_blocks(task, recipe)
print(told["unavailable"])
"""


def test_a_disk_that_is_full_amid_an_ingest_ends_it_and_quarantines_no_row(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", INGEST_WITH_A_LIMIT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
    assert done.stdout.startswith(f"{tmp_path / 'blocks'}/k"), done.stdout
    assert os.strerror(errno.EFBIG).lower() in done.stdout
    assert not [file.name for file in (tmp_path / "blocks").iterdir() if file.suffix == ".json"], "it is not done"
