"""What `kindred jobs` and `kindred status` read from a log and from the dashboard."""

import json

import pytest

from cluster.jobs import Job, with_progress
from cluster.status import nodes_of
from pipelines.base.progress import Lines

RUNNING = Job("raysubmit_1", "digits", "RUNNING", "")
WORDS = Lines("train", 5000, "steps", now=0.0).text(1200, "3,400 rows/s", now=60.0)


@pytest.mark.parametrize("line", [WORDS, json.dumps({"message": WORDS})], ids=["text", "json"])
def test_how_far_a_job_is_stands_in_the_last_line_of_progress(line: str) -> None:
    log = f"ingest: 100 of 100 rows (100 %)\n{line}\nnote: something else\n"
    job = with_progress(RUNNING, log)
    assert (job.work, job.done, job.total, job.unit, job.left) == ("train", 1200, 5000, "steps", "0:03:10")
    assert with_progress(RUNNING, "nothing of that kind\n{half a line") == RUNNING


def test_nodes_and_what_is_free_are_read_from_the_dashboard() -> None:
    raylet = {"state": "ALIVE", "nodeId": "b", "nodeManagerAddress": "10.0.0.2", "isHeadNode": False}
    head = {"state": "ALIVE", "nodeId": "a", "nodeManagerAddress": "10.0.0.1", "isHeadNode": True}
    gone = raylet | {"state": "DEAD", "nodeId": "c"}
    usage = {"b": "1.0/4.0 CPU\n0.0/1.0 GPU\n0B/2.00GiB memory"}
    answer = {"data": {"summary": [{"raylet": of} for of in (raylet, gone, head)], "nodeLogicalResources": usage}}
    first, second = nodes_of(answer)
    assert (first.node, first.is_head, first.total) == ("a", True, {})
    assert (second.used, second.total) == ({"CPU": 1.0, "GPU": 0.0}, {"CPU": 4.0, "GPU": 1.0})
    assert nodes_of({}) == []
