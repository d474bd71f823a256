"""A run on a cluster that begins with no processor: nodes come with the work, and go after it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.case.load import load_case
from tests.cluster.head import HEAD_NODE, Head, running_head
from tests.pipelines.one_worker import train_here
from tests.processes import wait_until

pytestmark = pytest.mark.starts_ray
SETTINGS = ["training.steps=20", "training.seeds=[0]", "evaluation.replicates=20", "evaluation.baseline=naive"]
SETTINGS += ["arms={naive: {matching: none}}", "training.workers=2"]


@pytest.fixture
def head() -> Iterator[Head]:
    with running_head(cpus=0, most_nodes=2) as running:
        yield running


def test_nodes_come_by_demand_and_go_and_the_numbers_are_those_of_one_machine(head: Head, tmp_path: Path) -> None:
    assert set(head.nodes()) <= {HEAD_NODE}
    settings = [*SETTINGS, f"storage.path={tmp_path / 'store'}"]
    command = [sys.executable, "-m", "pipelines", "submit", "--address", head.url, "digits"]
    command += [word for setting in settings for word in ("--set", setting)]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, env=head.env, stdout=log, stderr=subprocess.STDOUT)
    try:
        seen: set[str] = set()
        most = 0

        def ended() -> bool:
            nonlocal most
            now = set(head.nodes()) - {HEAD_NODE}
            seen.update(now)
            most = max(most, len(now))
            return process.poll() is not None

        wait_until(ended, "the run's end", 600)
    finally:
        process.kill()
        told = (tmp_path / "log").read_text()
    assert process.returncode == 0, told
    assert most == 2, "two workers need two nodes of one processor"
    wait_until(lambda: head.nodes() == [HEAD_NODE], "idle nodes are gone", 120)
    assert len(seen) >= 2

    case = load_case("digits", settings)
    (results,) = (tmp_path / "store").glob("digits-*/results.json")
    assert json.loads(results.read_text())["arms"]["naive"]["digit"]
    (run,) = results.parent.rglob("run.json")
    assert json.loads(run.read_text())["workers"] == 2
    (alone,) = train_here(case, experiment=tmp_path / "alone").values()
    losses, of_one = (pq.read_table(folder / "history.parquet")["loss"].to_numpy() for folder in (run.parent, alone))
    assert losses == pytest.approx(of_one, rel=1e-4)
    assert re.search(r"report: .*report\.html", told)
