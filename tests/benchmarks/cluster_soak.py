"""Break a cluster that grows and shrinks while runs go on: minutes each, and too long for the tests.

    python tests/benchmarks/cluster_soak.py                 # all of it
    python tests/benchmarks/cluster_soak.py never two_jobs

- ``never``: a run asks for more than the cluster may ever have: within a minute it says what is missing.
- ``two_jobs``: two runs at once on nodes for one of them; both end.
- ``kill``: a node is killed while a run trains; the run ends.
- ``elastic``: a run of one to four workers; nodes are killed while it trains, and it ends.

Nodes are processes of this machine that Ray's autoscaler starts. What was seen is printed as JSON, a line a scenario.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.cluster.head import HEAD_NODE, Head, running_head

SMALL = ["training.seeds=[0]", "evaluation.replicates=20", "evaluation.baseline=naive"]
SMALL += ["arms={naive: {matching: none}}"]


class Run:
    """A run on the cluster, and its log."""

    def __init__(self, head: Head, folder: Path, *settings: str) -> None:
        folder.mkdir(parents=True)
        self.head, self.folder, self.log = head, folder, folder / "log"
        command = [sys.executable, "-m", "pipelines", "submit", "--address", head.url, "digits"]
        for setting in [*SMALL, f"storage.path={folder / 'store'}", *settings]:
            command += ["--set", setting]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=head.env, stdout=log, stderr=subprocess.STDOUT)
        self.begun = time.monotonic()

    def wait(self, pattern: str = "", seconds: float = 900) -> float:
        """Wait for a line of the log, or for the end; return the seconds since the run was sent."""
        while True:
            ended, said = self.process.poll() is not None, self.log.read_text()
            if re.search(pattern, said, re.MULTILINE) if pattern else ended:
                break
            assert not ended, said
            assert time.monotonic() - self.begun < seconds, said
            time.sleep(0.2)
        return round(time.monotonic() - self.begun, 1)

    def job(self) -> str:
        self.wait(r"job raysubmit_\w+ is submitted")
        return re.search(r"raysubmit_\w+", self.log.read_text())[0]  # type: ignore[index]

    def of_run(self) -> dict[str, Any]:
        (record,) = (self.folder / "store").rglob("run.json")
        return dict(json.loads(record.read_text()))


def kill_a_node(head: Head) -> str:
    """Kill a node that works, as a machine that is taken away."""
    for process in psutil.Process(head.pid).children(recursive=True):
        try:
            node = process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", HEAD_NODE)
            if process.name() == "raylet" and node != HEAD_NODE:
                process.kill()
                return node[-5:]
        except psutil.Error:
            continue
    return "none"


def never(folder: Path) -> dict[str, Any]:
    with running_head(cpus=0, most_nodes=1) as head:
        run = Run(head, folder, "training.steps=20", "training.workers=3")
        began = run.wait(r"^train: 0 of")
        told = run.wait(r"^note: warning: waiting for 3 CPUs; the cluster has \d")
        stopped = head.kindred("stop", "--address", head.url, run.job())
        run.wait()
        words = [line for line in run.log.read_text().splitlines() if "waiting for" in line]
        return {"told_s_after_first_line": round(told - began, 1), "said": words[-1], "stop": stopped.stdout.strip()}


def two_jobs(folder: Path) -> dict[str, Any]:
    with running_head(cpus=0, most_nodes=2) as head:
        runs = [Run(head, folder / name, "training.steps=200", "training.workers=2") for name in "ab"]
        seconds = [run.wait() for run in runs]
        return {"exit": [run.process.returncode for run in runs], "seconds": seconds}


def kill(folder: Path) -> dict[str, Any]:
    with running_head(cpus=0, most_nodes=3) as head:
        run = Run(head, folder, "training.steps=20000", "training.workers=2", "training.checkpoints.every_s=5")
        run.wait(r"^train: .* rows/s")
        killed = [kill_a_node(head)]
        run.wait(r"^report: ")
        seconds = run.wait()
        return {"exit": run.process.returncode, "killed": killed, "seconds": seconds, "events": run.of_run()["events"]}


def elastic(folder: Path) -> dict[str, Any]:
    with running_head(cpus=0, most_nodes=4) as head:
        workers = ["training.workers=[1, 4]", "training.resize_every_s=10", "training.max_failures=-1"]
        run = Run(head, folder, "training.steps=40000", "training.checkpoints.every_s=5", *workers)
        run.wait(r"^train: .* rows/s")
        seen, killed = [], []
        for _ in range(2):
            deadline = time.monotonic() + 45
            while time.monotonic() < deadline and run.process.poll() is None:
                seen.append(len(head.nodes()) - 1)
                time.sleep(1)
            killed.append(kill_a_node(head))
        seconds = run.wait()
        events = run.of_run()["events"]
        return {"exit": run.process.returncode, "nodes": sorted(set(seen)), "killed": killed, "seconds": seconds,
                "events": events}  # fmt: skip


SCENARIOS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "never": never,
    "two_jobs": two_jobs,
    "kill": kill,
    "elastic": elastic,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], default=[])
    for name in parser.parse_args().scenarios or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="kindred-soak-") as folder:
            print(json.dumps({name: SCENARIOS[name](Path(folder) / name)}), flush=True)


if __name__ == "__main__":
    main()
