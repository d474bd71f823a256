"""The folder of a Ray of one's own: short enough for the paths of its sockets wherever TMPDIR leads, and private."""

import os
import re
import stat
import tempfile

import pytest

from pipelines.base.errors import UserError
from pipelines.base.ray_session import private_temporary_folder

# /kindred-<8>/r/session_<date>_<time>_<microseconds>_<process>/sockets/plasma_store
_RAYS = "/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"


@pytest.fixture(params=["TMPDIR", "RAY_TMPDIR"])
def variable(request, monkeypatch):
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return request.param


def made_and_removed():
    folder = private_temporary_folder()
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    os.rmdir(folder)
    return folder, mode


def test_below_a_long_temporary_folder_sockets_would_have_no_room_and_a_short_one_is_taken(
    variable, tmp_path, monkeypatch
):
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv(variable, str(long))
    folder, mode = made_and_removed()
    assert not folder.startswith(str(long))
    assert len(os.fsencode(folder + _RAYS)) <= 107  # of AF_UNIX on Linux
    assert mode == 0o700


def test_a_short_one_is_taken_as_it_is(variable, monkeypatch):
    with tempfile.TemporaryDirectory(prefix="k", dir="/tmp") as short:
        monkeypatch.setenv(variable, short)
        folder, mode = made_and_removed()
    assert os.path.dirname(folder) == short
    assert mode == 0o700


def test_where_no_short_folder_can_be_written_to_the_variable_to_set_is_told(variable, tmp_path, monkeypatch):
    long = str(tmp_path / ("x" * 60))
    monkeypatch.setenv(variable, long)

    def refuse(**_):
        raise OSError

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    words = f"{variable}: found {long!r}, {len(long)} bytes; expected a folder"
    with pytest.raises(UserError, match=f"^{re.escape(words)}.*RAY_TMPDIR"):
        private_temporary_folder()
