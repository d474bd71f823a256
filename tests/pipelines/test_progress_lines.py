"""Progress where no terminal is: plain lines or JSON Lines, seldom, and what work waits for."""

import io
import json

import pytest

from pipelines.base.logs import FORMAT, say
from pipelines.base.progress import Bar, Lines, bar, read_line
from pipelines.base.waiting import Waiting, missing
from tests.processes import wait_until


def lines_of(times_and_done, total):
    lines = Lines("train", total, "steps", now=0.0)
    return [line for now, done in times_and_done if (line := lines.line(done, "", now))]


def test_a_line_comes_every_30_s_or_5_per_cent_whichever_is_first_and_none_within_5_s():
    fast = lines_of([(t, t * 10) for t in range(101)], 1000)  # 5 % every 5 s
    assert len(fast) == 20
    faster = lines_of([(t, t * 100) for t in range(11)], 1000)  # 5 % every half second
    assert len(faster) == 2
    slow = lines_of([(t, t) for t in range(0, 301)], 100_000)
    assert len(slow) == 10
    assert lines_of([(t, 0) for t in range(0, 61)], 100) == [
        "train: 0 of 100 steps (0 %)", "train: 0 of 100 steps (0 %)"
    ]  # fmt: skip


def test_a_line_says_how_far_and_how_long_and_can_be_read_again():
    words = Lines("ingest", 2_000_000, "rows", now=10.0).text(500_000, "400 rows/s", now=610.0)
    assert words == "ingest: 500,000 of 2,000,000 rows (25 %), 0:30:00 left; 400 rows/s"
    said = read_line(words)
    assert said == {"work": "ingest", "done": "500,000", "total": "2,000,000", "unit": "rows", "left": "0:30:00"}
    assert read_line("note: 3 of 4 things were odd") is None


@pytest.fixture
def quick(monkeypatch, capsys):
    """Lines at once; what was told so far."""
    monkeypatch.setattr(Lines, "at_least_s", 0.0)
    monkeypatch.setattr(Lines, "every_s", 0.0)
    monkeypatch.setattr("pipelines.base.progress._LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("pipelines.base.progress._WAITS_AFTER_S", 0.0)
    told = io.StringIO()

    def so_far():
        told.write(capsys.readouterr().err)
        return told.getvalue()

    return so_far


def test_what_work_waits_for_stands_in_the_line(quick):
    with bar("train", 10, "steps", waiting=lambda _: "waiting for 2 CPUs; the cluster has 0"):
        wait_until(lambda: "the cluster has 0" in quick(), "a line", 10)
    assert quick().splitlines()[0] == "train: 0 of 10 steps (0 %); waiting for 2 CPUs; the cluster has 0"


def test_as_json_a_line_has_run_rank_and_step(quick, monkeypatch):
    monkeypatch.setenv(FORMAT, "json")
    shown = Bar("train", 10, "steps")
    shown.show(4, "3 rows/s", {"run": "naive/0", "rank": 0, "step": 4})
    wait_until(lambda: '"done": 4' in quick(), "a line", 10)
    shown.close()
    say("note: odd", level="note")
    *_, progress, note = [json.loads(line) for line in quick().splitlines()]
    assert (progress["run"], progress["rank"], progress["step"], progress["total"]) == ("naive/0", 0, 4, 10)
    assert (note["level"], note["message"], note["run"]) == ("note", "note: odd", None)


@pytest.mark.parametrize(
    ("workers", "each", "nodes", "says"),
    [
        (2, {"CPU": 1.0}, [{}], "waiting for 2 CPUs; the cluster has 0"),
        (4, {"CPU": 1.0, "GPU": 1.0}, [{"CPU": 64.0, "GPU": 1.0}], "waiting for 4 GPUs; the cluster has 1"),
        (1, {"CPU": 8.0}, [{"CPU": 4.0}, {"CPU": 6.0}], "waiting for a node with 8 CPUs; the largest has 6"),
        (2, {"CPU": 3.0}, [{"CPU": 5.0}, {"CPU": 1.0}], "2 workers with 3 CPUs each; the cluster's nodes have room"),
        (2, {"CPU": 1.0, "GPU": 0.0}, [{"CPU": 2.0}], None),
    ],
)
def test_what_a_cluster_lacks_is_named(workers, each, nodes, says):
    found = missing(workers, each, nodes)
    assert says in found if says else found == ""


def test_workers_are_said_to_start_before_any_work_is_done_and_not_later(monkeypatch):
    monkeypatch.setattr("pipelines.base.waiting._cluster", lambda: ([{"CPU": 4.0}], 1.0))
    monkeypatch.setattr("pipelines.base.waiting._ASK_EVERY_S", 0.0)
    waiting = Waiting(2, {"CPU": 1.0})
    assert waiting(begun=False).startswith("starting 2 workers")
    assert waiting(begun=True) == ""


def test_a_node_that_is_lost_late_is_no_request_that_was_never_met(monkeypatch, capsys):
    moment, nodes = [1000.0], [[{"CPU": 4.0}]]
    monkeypatch.setattr("pipelines.base.waiting._cluster", lambda: (nodes[0], 1.0))
    monkeypatch.setattr("pipelines.base.waiting.time.monotonic", lambda: moment[0])
    waiting = Waiting(2, {"CPU": 1.0})
    assert waiting(begun=True) == ""
    nodes[0] = []
    for moment[0] in (2000.0, 2030.0):
        assert "the cluster has 0" in waiting(begun=True)
        assert capsys.readouterr().err == ""
    moment[0] = 2050.0
    waiting(begun=True)
    assert "never has them" in capsys.readouterr().err
