"""One process at a time trains an experiment; one that is gone holds nothing up, on this machine or another."""

import json
import subprocess
import sys
import threading

import pytest

from pipelines.base.errors import UserError
from pipelines.experiment import lease
from pipelines.experiment.lease import LEASE, training_lease

HOLD = """
import sys
from pipelines.experiment.lease import training_lease
with training_lease(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def held(tmp_path):
    """An experiment's folder whose lease another process holds, and that process."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield tmp_path, process
    process.kill()
    process.wait()


def test_the_second_is_told_who_trains(held):
    folder, process = held
    with pytest.raises(UserError, match=rf"process {process.pid} .*--wait"), training_lease(str(folder)):
        pass
    assert (folder / LEASE).is_file()


def test_the_second_waits_until_the_first_has_ended(held):
    folder, process = held
    entered = threading.Event()

    def second():
        with training_lease(str(folder), wait=True, look_every_s=0.05):
            entered.set()

    thread = threading.Thread(target=second)
    thread.start()
    assert not entered.is_set()
    process.communicate("\n")
    thread.join(60)
    assert entered.is_set()
    assert not (folder / LEASE).exists()


def test_what_a_killed_process_holds_is_free_at_once(held):
    folder, process = held
    process.kill()
    process.wait()
    with training_lease(str(folder)):
        assert json.loads((folder / LEASE).read_text())["process"] != process.pid
    assert not (folder / LEASE).exists()


def test_a_holder_of_another_machine_is_believed_as_long_as_its_number_grows(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "_STALE_AFTER_S", 0.2)
    file = tmp_path / LEASE
    file.write_text(json.dumps({"holder": "x", "host": "far", "machine": "far", "process": 1, "beat": 7}))
    with training_lease(str(tmp_path), look_every_s=0.05):  # it says nothing: it is taken over
        assert json.loads(file.read_text())["holder"] != "x"

    monkeypatch.setattr(lease, "_STALE_AFTER_S", 1000)
    ended = threading.Event()
    far = {"holder": "x", "host": "far", "machine": "far", "process": 1}

    def other():
        beat = 0
        while not ended.is_set():
            beat += 1
            lease.write_whole(str(file), json.dumps(far | {"beat": beat}))

    thread = threading.Thread(target=other)
    thread.start()
    try:
        with pytest.raises(UserError, match="process 1 on far"), training_lease(str(tmp_path), look_every_s=0.05):
            pass
    finally:
        ended.set()
        thread.join()


def test_a_damaged_file_holds_nothing_up(tmp_path):
    (tmp_path / LEASE).write_text('{"holder": ')
    with training_lease(str(tmp_path)):
        pass
