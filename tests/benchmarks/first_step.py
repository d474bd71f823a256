"""Seconds from the command to the first step, and to the first step after a kill, and what they are spent on.

    python tests/benchmarks/first_step.py --rounds 3

`kindred train` is started on ingested data; once a checkpoint is written everything it started is killed (SIGKILL), and
the same command is started again, which goes on from there. When things begin and end is written, in every process, by
marks/sitecustomize.py; nothing of Kindred knows of it. Shares are of the whole, medians over rounds.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
PHASES = (  # what it is called, and the mark that ends it
    ("Python starts", "python begins"),
    ("imports before Ray, the case is read", "import ray begins"),
    ("import of Ray", "import ray ends"),
    ("Ray starts", "init ends"),
    ("the data are looked up", "fit_runs begins"),
    ("workers start", "train_runs begins"),
    ("blocks are opened", "open_training_data ends"),
    ("network, loss and optimiser are built", "build_state ends"),
    ("the checkpoint is read", "restore_latest ends"),
    ("the first step", "Step.take ends"),
)


def to_first_step(command: list[str], folder: Path, then: Path | None) -> dict[str, float]:
    """Start a command, wait for its first step and, where it is given, for a file like ``then``; kill it.

    Returns:
        seconds by phase.
    """
    marks = Path(tempfile.mkdtemp(dir=folder))
    path = os.pathsep.join([str(HERE / "marks"), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    begun = time.time()
    environment = os.environ | {"BENCHMARK_MARKS": str(marks), "PYTHONPATH": path}
    with (marks / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        while True:
            times = read_marks(marks)
            if "Step.take ends" in times and (then is None or list(then.parent.glob(then.name))):
                break
            if process.poll() is not None:
                sys.exit((marks / "output.txt").read_text())
            time.sleep(0.05)
    finally:
        started = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in started:
            if one.is_running():
                one.send_signal(signal.SIGKILL)
        psutil.wait_procs(started)
    seconds, before = {}, begun
    for phase, ends in PHASES:
        seconds[phase] = max(0.0, times[ends] - before)
        before = max(before, times[ends])
    return seconds


def read_marks(folder: Path) -> dict[str, float]:
    """Return when what was marked happened: at first, in whichever process."""
    times: dict[str, float] = {}
    for file in folder.glob("*.txt"):
        if file.name == "output.txt":
            continue
        for line in file.read_text().splitlines():
            when, _, what = line.partition(" ")
            times[what] = min(float(when), times.get(what, float("inf")))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=10240)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import list_runs
    from pipelines.ingest.ingest import ingest

    found: dict[str, list[dict[str, float]]] = {"first": [], "after a kill": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        case = made_case(folder, given.rows, overrides=["training.steps=100000"])
        with ray_session():
            ingest(case)
        command = [sys.executable, "-m", "pipelines", "train", str(folder / "made.yaml")]
        for setting in ("training.steps=100000", "training.checkpoints.every_steps=3", "logging.every=1"):
            command += ["--set", setting]
        checkpoints = Path(list_runs(case)[0].folder(experiment_folder(case))) / "checkpoints" / "step-*.safetensors"
        for _ in range(given.rounds):
            found["first"].append(to_first_step([*command, "--fresh"], folder, checkpoints))
            found["after a kill"].append(to_first_step(command, folder, None))
            for file in checkpoints.parent.glob(checkpoints.name):
                file.unlink()
    answer: dict[str, Any] = {"load": os.getloadavg()}
    for which, rounds in found.items():
        whole = statistics.median(sum(seconds.values()) for seconds in rounds)
        shares = {phase: statistics.median(r[phase] / sum(r.values()) for r in rounds) for phase, _ in PHASES}
        answer[which] = {"seconds": round(whole, 2), "shares": {p: round(s, 3) for p, s in shares.items()}}
    if given.json:
        print(json.dumps(answer | {"rounds": found}))
        return
    for which in found:
        print(f"to the first step, {which}: {answer[which]['seconds']:.1f} s")
        for phase, share in answer[which]["shares"].items():
            print(f"  {100 * share:4.0f} %  {phase}")
    print(f"load {answer['load'][0]:.1f}")


if __name__ == "__main__":
    main()
