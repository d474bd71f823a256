"""Break a cluster that grows and shrinks while runs go on: minutes each, and too long for the tests.

    python tests/benchmarks/cluster_soak.py                 # all of it
    python tests/benchmarks/cluster_soak.py never two_jobs
    python tests/benchmarks/cluster_soak.py kill --autoscaler v2

- ``never``: a run asks for more than the cluster may ever have: within a minute it says what is missing.
- ``two_jobs``: two runs at once on nodes for one of them; both end.
- ``kill``: a node is killed while a run trains; the run ends.
- ``kill_ingest``: a node that makes blocks is killed; the run ends, and the blocks are those of one machine.
- ``kill_evaluation``: a node that predicts the test split is killed; results and predictions are, to the last byte,
  those of an evaluation that nobody disturbs.
- ``driver``: the job's driver is killed while a run trains; the same submit goes on from the checkpoint.
- ``elastic``: the cluster may have two nodes, then four, then one; a run of one to four workers trains with as many.

Nodes are processes of this machine that Ray's autoscaler starts. What was seen is printed as JSON, a line a scenario.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cluster.head import HEAD_NODE, Head, running_head

SMALL = ["training.seeds=[0]", "evaluation.replicates=20", "evaluation.baseline=naive"]
SMALL += ["arms={naive: {matching: none}}"]
IMAGES, SIZE = 4000, 224
_TOLD = re.compile(r"^(note|warning|error|Error|Traceback|kindred)|waiting for|interrupted", re.IGNORECASE)


class Run:
    """A run on the cluster, and its log."""

    def __init__(self, head: Head, folder: Path, *settings: str, case: str = "digits", code: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.head, self.folder, self.log = head, folder, folder / f"log-{len(list(folder.glob('log-*')))}"
        command = [sys.executable, "-m", "pipelines", "submit", "--address", head.url, case]
        command += ["--with", code] if code else []
        for setting in [*SMALL, f"storage.path={folder / 'store'}", *settings]:
            command += ["--set", setting]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, env=head.env, stdout=log, stderr=subprocess.STDOUT)
        self.begun = time.monotonic()

    def until(self, holds: Callable[[], Any], what: str, seconds: float = 600) -> float:
        """Wait until something holds; return the seconds since the run was sent."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.process.poll() is None, f"it ended before {what}: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s: {self.log.read_text()}"
            time.sleep(0.2)
        return round(time.monotonic() - self.begun, 1)

    def says(self, pattern: str, seconds: float = 600) -> float:
        """Wait for a line of the log; return the seconds since the run was sent."""
        return self.until(
            lambda: re.search(pattern, self.log.read_text(), re.MULTILINE), f"the line {pattern}", seconds
        )

    def wait(self, seconds: float = 900) -> dict[str, Any]:
        """Wait for the end; return the exit code, the seconds since the run was sent, and what it told."""
        self.process.wait(seconds)
        told = [line[:200] for line in self.log.read_text().splitlines() if _TOLD.search(line)]
        return {"exit": self.process.returncode, "seconds": round(time.monotonic() - self.begun, 1), "told": told[-8:]}

    def job(self) -> str:
        self.says(r"job raysubmit_\w+ is submitted")
        return re.search(r"raysubmit_\w+", self.log.read_text())[0]  # type: ignore[index]

    def of_run(self) -> dict[str, Any]:
        (record,) = (self.folder / "store").rglob("run.json")
        return dict(json.loads(record.read_text()))

    def events(self) -> list[str]:
        return [f"step {event['step']}: {event['what']}" for event in self.of_run()["events"]]

    def checkpoints(self) -> list[Path]:
        return list((self.folder / "store").rglob("checkpoints/*.safetensors"))


def node_of(process: psutil.Process) -> psutil.Process | None:
    """Return the raylet that a process works for, if it is not the head's."""
    with suppress(psutil.Error):
        for parent in [process, *process.parents()]:
            if parent.name() == "raylet":
                node = parent.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", HEAD_NODE)
                return None if node == HEAD_NODE else parent
    return None


def at_work(head: Head, word: str) -> list[psutil.Process]:
    """Return the processes of other nodes than the head whose command, as Ray writes it, holds a word."""
    found = []
    for process in psutil.Process(head.pid).children(recursive=True):
        with suppress(psutil.Error, IndexError):
            title = process.cmdline()[0]
            if title.startswith("ray::") and word in title and node_of(process):
                found.append(process)
    return found


def kill_the_node_of(process: psutil.Process) -> str:
    """Kill the node that a process works for, as a machine that is taken away: with all that runs there."""
    node = node_of(process)
    assert node, "it works for no node"
    name = node.environ()["RAY_OVERRIDE_NODE_ID_FOR_TESTING"][-5:]
    workers = node.children(recursive=True)
    for one in [node, *workers]:
        with suppress(psutil.Error):
            one.kill()
    return name


def held(folder: Path, *files: str) -> tuple[Path, str]:
    """Return the folder by which a network is held up, and the setting; ``files`` stand there at first."""
    gate = folder / "gate"
    gate.mkdir(parents=True)
    for file in files:
        (gate / file).touch()
    return gate, f"network={{backbone: 'held_backbone:HeldBackbone', options: {{gate: '{gate}'}}}}"


HELD = str(Path(__file__).parents[1] / "cluster/held_backbone.py")


def marked(gate: Path, what: str, within_s: float = 3.0) -> dict[int, float]:
    """Return the processes that have trained or evaluated within some seconds, and when."""
    found = {}
    for mark in gate.glob(f"{what}-*"):
        with suppress(OSError):
            if time.time() - (at := mark.stat().st_mtime) < within_s:
                found[int(mark.name.rpartition("-")[2])] = at
    return found


def never(head: Head, folder: Path) -> dict[str, Any]:
    run = Run(head, folder, "training.steps=20", "training.workers=3")
    began = run.says(r"^train: 0 of")
    told = run.says(r"^note: warning: waiting for 3 CPUs; the cluster has \d")
    stopped = head.kindred("stop", "--address", head.url, run.job())
    return run.wait() | {"told_s_after_first_line": round(told - began, 1), "stop": stopped.stdout.strip()}


def two_jobs(head: Head, folder: Path) -> dict[str, Any]:
    runs = [Run(head, folder / name, "training.steps=200", "training.workers=2") for name in "ab"]
    return {name: run.wait() for name, run in zip("ab", runs, strict=True)}


def kill(head: Head, folder: Path) -> dict[str, Any]:
    gate, network = held(folder, "slow")
    settings = ["training.steps=400", "training.workers=2", "training.checkpoints.every_s=5", network]
    run = Run(head, folder, *settings, code=HELD)
    run.until(run.checkpoints, "a checkpoint")
    killed, at = kill_the_node_of(at_work(head, "RayTrainWorker")[0]), set(marked(gate, "training"))
    run.until(lambda: len(set(marked(gate, "training")) - at) == 2, "it trains again")
    (gate / "slow").unlink()
    return run.wait() | {"killed": killed, "events": run.events()}


def kill_ingest(head: Head, folder: Path) -> dict[str, Any]:
    case = write_images(folder)
    run = Run(head, folder, "training.steps=2", "arms={naive: {}}", case=case)
    run.until(lambda: list((folder / "store").rglob("pictures-*/*.json")), "a first block")
    run.until(lambda: at_work(head, "make_blocks"), "a task at work")
    before = len(list((folder / "store").rglob("pictures-*/*.json")))
    killed = kill_the_node_of(at_work(head, "make_blocks")[0])
    came = run.wait()
    alone = [sys.executable, "-m", "pipelines", "ingest", case, "--set", f"storage.path={folder / 'alone'}"]
    here = {name: value for name, value in head.env.items() if not name.startswith("RAY_")}
    subprocess.run(alone, env=here, check=True, capture_output=True)
    blocks, of_one = (contents_of(folder / store) for store in ("store", "alone"))
    rows = {name: of[1] for name, of in blocks.items()}
    return came | {"killed": killed, "blocks_then": before, "rows": rows, "as_of_one_machine": blocks == of_one}


def write_images(folder: Path) -> str:
    """Write JPEG files by class, and a case of them; return the case file."""
    draw = np.random.default_rng(0)
    for split, count in (("pictures", IMAGES), ("test", 40)):
        for i in range(count):
            file = folder / "data" / split / str(i % 4) / f"{i:05d}.jpg"
            file.parent.mkdir(parents=True, exist_ok=True)
            coarse = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((640, 480)).save(file, quality=85)
    content = {
        "name": "pictures",
        "data_root": str(folder / "data"),
        "input": {"height": SIZE, "width": SIZE},
        "tasks": {"kind": {"kind": "multiclass", "classes": ["0", "1", "2", "3"]}},
        "datasets": {
            name: {"source": {"kind": "image_folder", "path": name}, "labels": {"kind": {"from": "folder"}}} | split
            for name, split in (("pictures", {}), ("test", {"split": "test"}))
        },
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 2, "batch_size": 8},
    }
    file = folder / "pictures.yaml"
    file.write_text(json.dumps(content))
    return str(file)


def contents_of(store: Path) -> dict[str, tuple[str, int]]:
    """Return the digest of a storage's blocks and how many rows they have, by dataset."""
    manifests = [json.loads(file.read_text()) for file in store.glob("blocks/*/manifest.json")]
    return {of["data_set"]: (of["content_hash"], of["rows"]) for of in manifests}


def kill_evaluation(head: Head, folder: Path) -> dict[str, Any]:
    gate, network = held(folder)
    settings = ["training.steps=50", network]
    run = Run(head, folder, *settings, code=HELD)
    run.until(lambda: list((folder / "store").rglob("run.json")), "it has trained")
    (gate / "stop").touch()  # a training evaluates too

    def predicting() -> list[psutil.Process]:
        found = []
        for pid in marked(gate, "evaluating", 600).keys() - marked(gate, "training", 600).keys():
            with suppress(psutil.Error):
                found += [one] if node_of(one := psutil.Process(pid)) else []
        return found

    run.until(predicting, "it predicts")
    killed, at = kill_the_node_of(predicting()[0]), time.monotonic()
    run.until(predicting, "it predicts again")
    again = round(time.monotonic() - at, 1)
    (gate / "stop").unlink()
    came = run.wait()
    whole = evaluated(folder)
    (results,) = (folder / "store").glob("digits-*/results.json")
    results.unlink()
    undisturbed = Run(head, folder, *settings, code=HELD).wait()
    same = evaluated(folder) == whole
    return came | {"killed": killed, "again_after_s": again, "same_as_undisturbed": same, "then": undisturbed}


def evaluated(folder: Path) -> list[bytes]:
    """Return what an evaluation has written."""
    (experiment,) = (folder / "store").glob("digits-*/")
    return [(experiment / name).read_bytes() for name in ("results.json", "predictions.parquet")]


def driver(head: Head, folder: Path) -> dict[str, Any]:
    gate, network = held(folder, "slow")
    settings = ["training.steps=400", "training.workers=2", "training.checkpoints.every_s=5", network]
    run = Run(head, folder, *settings, code=HELD)
    run.until(run.checkpoints, "a checkpoint")
    workers, killed = at_work(head, "RayTrainWorker"), time.monotonic()
    (process,) = (
        one
        for one in psutil.Process(head.pid).children(recursive=True)
        if one.cmdline()[1:4] == ["-m", "pipelines", "run"]
    )
    process.send_signal(signal.SIGKILL)
    first = run.wait()
    run = Run(head, folder, *settings, code=HELD)
    before = {one.pid for one in workers}
    run.until(lambda: set(marked(gate, "training")) - before, "it trains again")
    trains = round(time.monotonic() - killed, 1)
    left = [one.pid for one in workers if one.is_running()]
    (gate / "slow").unlink()
    return (
        {"first": first, "trains_again_after_s": trains, "workers_left": left} | run.wait() | {"events": run.events()}
    )


def elastic(head: Head, folder: Path) -> dict[str, Any]:
    gate, network = held(folder, "slow")
    settings = ["training.workers=[1, 4]", "training.resize_every_s=5", "training.max_failures=-1"]
    settings += ["training.steps=2000", "training.checkpoints.every_s=5", network]
    run = Run(head, folder, *settings, code=HELD)
    seen = []
    for most in (2, 4, 1):
        head.allow(most)
        since: dict[frozenset[int], float] = {}

        def as_many(most: int = most, since: dict[frozenset[int], float] = since) -> bool:
            """Say whether so many workers, and the same, have trained for five seconds."""
            now = frozenset(marked(gate, "training"))
            began = since.setdefault(now, time.monotonic())
            for other in set(since) - {now}:
                del since[other]
            return len(now) == most and time.monotonic() - began > 5

        at = run.until(as_many, f"{most} workers train")
        seen.append({"s": at, "workers": most, "nodes": len(set(head.nodes()) - {HEAD_NODE})})
        print(json.dumps(seen[-1]), file=sys.stderr, flush=True)
    (gate / "slow").unlink()
    return run.wait() | {"seen": seen, "events": run.events(), "workers": run.of_run()["workers"]}


# By name: the scenario, and how many nodes the cluster may have at first.
SCENARIOS: dict[str, tuple[Callable[[Head, Path], dict[str, Any]], int]] = {
    "never": (never, 1),
    "two_jobs": (two_jobs, 2),
    "kill": (kill, 3),
    "kill_ingest": (kill_ingest, 3),
    "kill_evaluation": (kill_evaluation, 2),
    "driver": (driver, 2),
    "elastic": (elastic, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], default=[])
    parser.add_argument("--autoscaler", choices=["v1", "v2"], default="v1", help="the version of Ray's")
    parser.add_argument("--keep", type=Path, help="a folder for logs and storage; by default they are deleted")
    settings = parser.parse_args()
    for name in settings.scenarios or SCENARIOS:
        scenario, nodes = SCENARIOS[name]
        with tempfile.TemporaryDirectory(prefix="kindred-soak-") as scratch:
            folder = (settings.keep or Path(scratch)) / f"{name}-{settings.autoscaler}"
            shutil.rmtree(folder, ignore_errors=True)
            with running_head(cpus=0, most_nodes=nodes, autoscaler=settings.autoscaler) as head:
                seen = scenario(head, folder)
            print(json.dumps({name: seen, "autoscaler": settings.autoscaler}), flush=True)


if __name__ == "__main__":
    main()
