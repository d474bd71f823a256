"""Kill training again and again, at random moments, and count the runs that do not end with the same bits.

    python tests/benchmarks/soak.py                                        100 kills, some minutes
    python tests/benchmarks/soak.py --processes 500 --workers 0 --drivers 0

Victims: a process that trains alone, which starts in an instant; one of two workers under Ray Train, which starts
another; a driver with the Ray that it started, after which `kindred train` goes on; the control service (GCS) or the
raylet of a driver's Ray, after which the driver has to end by itself within half a minute, with no process left; a
search's driver, GCS or raylet. Every run that ends is compared with one that nobody disturbed: weights, losses, trust,
and how often each row was trained on; of a search, what every trial drew and came to.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from pipelines.base.ray_session import ray_session
from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.ingest.ingest import ingest, ingested
from pipelines.search.records import TrialRecord
from pipelines.train.launch import train
from tests.commands import environment
from tests.pipelines.counted_case import write_counted_case
from tests.pipelines.train.test_deaths import newest_step
from tests.pipelines.train.test_resume import train_alone, what_a_run_leaves
from tests.processes import descendants, ending_with, lives, name_of, wait_until

STEPS = 300


def same(case, experiment, expected):
    found = what_a_run_leaves(case, experiment)
    return found[0] == expected[0] and found[1].equals(expected[1]) and found[2] == expected[2]


def soak_processes(case, kills, draw, folder, tally):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pipelines.train.test_resume", "mtlcore", "torch._dynamo", "torchjd"])
    undisturbed = folder / "undisturbed"
    whole = context.Process(target=train_alone, args=(case, undisturbed))
    whole.start()
    whole.join()
    expected, longest = what_a_run_leaves(case, undisturbed), 3.0
    while tally["killed: process"] < kills:
        experiment = folder / "killed"
        while True:
            process = context.Process(target=train_alone, args=(case, experiment))
            process.start()
            process.join(timeout=draw.uniform(0, longest))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            tally["killed: process"] += 1
        judge(process.exitcode == 0 and same(case, experiment, expected), tally)
        shutil.rmtree(experiment)


def soak_workers(case_with, kills, draw, tally):
    undisturbed, case = case_with("undisturbed-two", workers=2), case_with("two", workers=2, max_failures=-1)
    with ray_session():
        for each in (undisturbed, case):
            ingest(each)
        train(undisturbed, ingested(undisturbed))
        expected = what_a_run_leaves(undisturbed, experiment_folder(undisturbed))
        while tally["killed: worker"] < kills:
            training = threading.Thread(target=train, args=(case, ingested(case), True))
            training.start()
            for moment in sorted(draw.integers(5, STEPS - 20, size=4).tolist()):
                wait_until(lambda at=moment: newest_step(case) >= at, f"step {moment}", still=training.is_alive)
                victims = descendants("RayTrainWorker")
                victims[int(draw.integers(len(victims)))].kill()
                tally["killed: worker"] += 1
            training.join()
            judge(same(case, experiment_folder(case), expected), tally)


def soak_drivers(case, file, kills, draw, expected, tally):
    settings = ["--set", f"storage.path={case.storage.path}"]
    while tally["killed: driver"] < kills:
        shutil.rmtree(experiment_folder(case), ignore_errors=True)
        for moment in sorted(draw.integers(5, STEPS - 20, size=2).tolist()):
            command = [sys.executable, "-m", "pipelines", "train", str(file), *settings]
            driver = subprocess.Popen(command, env=environment())
            ended = driver.poll
            wait_until(lambda at=moment, ended=ended: newest_step(case) >= at or ended() is not None, f"step {moment}")
            if ended() is not None:  # the workers of the driver before, which outlive it by seconds, had trained it all
                break
            started = ending_with(driver)
            driver.kill()
            driver.wait()
            wait_until(lambda of=started: not any(process.is_running() for process in of), "its processes ended")
            tally["killed: driver"] += 1
        subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
        judge(same(case, experiment_folder(case), expected), tally)


SERVICES = ("gcs_server", "raylet")


def kill_under(driver, victim, tally):
    """Kill a driver, or a service of its Ray; wait until all is gone, and count who took longer than half a minute."""
    below = psutil.Process(driver.pid).children(recursive=True)
    started = ending_with(driver) if victim == "driver" else below
    if victim == "driver":
        driver.kill()
    else:
        next(process for process in below if name_of(process) == victim).kill()
    killed = time.monotonic()
    driver.wait()
    wait_until(lambda: not any(map(lives, started)), "its processes ended")
    tally["killed: " + victim] += 1
    tally["longer than 30 s to the end"] += time.monotonic() - killed > 30


def soak_services(case, file, kills, draw, expected, tally):
    command = [sys.executable, "-m", "pipelines", "train", str(file), "--set", f"storage.path={case.storage.path}"]
    while min(tally["killed: " + service] for service in SERVICES) < kills:
        shutil.rmtree(experiment_folder(case), ignore_errors=True)
        for service, moment in zip(SERVICES, sorted(draw.integers(5, STEPS - 20, size=2).tolist()), strict=True):
            driver = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
            wait_until(
                lambda at=moment: newest_step(case) >= at,
                f"step {moment}",
                600,
                still=lambda of=driver: of.poll() is None,
            )
            kill_under(driver, service, tally)
        subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
        judge(same(case, experiment_folder(case), expected), tally)


def soak_searches(folder, kills, draw, tally):
    settings = [
        "training.steps=40",
        "tuning.trials=4",
        "tuning.search=random",
        "tuning.seeds=[0]",
        "tuning.fresh_seeds=0",
    ]
    settings += ["evaluation.replicates=10", "training.device=cpu", "tuning.concurrency=1", "tuning.objective=mean"]

    def command(store):
        given = [*settings, f"storage.path={folder / store}"]
        return [
            sys.executable,
            "-m",
            "pipelines",
            "tune",
            "digits",
            *(word for one in given for word in ("--set", one)),
        ]

    def found(store):
        trials = [TrialRecord.from_dict(json.loads(file.read_text())) for file in files(store)]
        return {of.number: (of.settings, of.state, of.by_seed) for of in trials}

    def files(store):
        return sorted((folder / store).glob("digits-*/tuning/*/trials/*.json"))

    subprocess.run(command("search"), env=environment(), stdout=subprocess.DEVNULL, check=True)
    expected, done = found("search"), 0
    while done < kills:
        for victim in ("driver", *SERVICES):
            ended = int(draw.integers(1, len(expected)))
            driver = subprocess.Popen(command("killed"), env=environment(), stderr=subprocess.DEVNULL)
            over = driver.poll
            wait_until(
                lambda n=ended, over=over: len(files("killed")) >= n or over() is not None, f"{ended} trials", 600
            )
            if over() is not None:
                break
            kill_under(driver, victim, tally)
            tally["of a search"] += 1
            done += 1
        subprocess.run(command("killed"), env=environment(), stdout=subprocess.DEVNULL, check=True)
        judge(found("killed") == expected, tally)
        shutil.rmtree(folder / "killed")


def judge(as_undisturbed, tally):
    tally["runs that ended as undisturbed" if as_undisturbed else "runs that ended otherwise"] += 1
    print(dict(tally), file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--processes", type=int, default=84, help="kills of a process that trains alone")
    parser.add_argument("--workers", type=int, default=12, help="kills of one of two workers under Ray Train")
    parser.add_argument("--drivers", type=int, default=4, help="kills of a driver with its Ray")
    parser.add_argument("--services", type=int, default=2, help="kills of a driver's GCS, and as many of its raylet")
    parser.add_argument("--searches", type=int, default=3, help="kills of a search: its driver, GCS, raylet in turn")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; another each time by default")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    draw, tally = np.random.Generator(np.random.PCG64(seed)), Counter({"runs that ended otherwise": 0})
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def case_with(store, **training):
            file = write_counted_case(folder, steps=STEPS, **training)
            return load_case(str(file), [f"storage.path={folder / store}"])

        alone = case_with("alone")
        with ray_session():
            ingest(alone)
        soak_processes(alone, given.processes, draw, folder, tally)
        expected = what_a_run_leaves(alone, folder / "undisturbed")
        if given.workers:
            soak_workers(case_with, given.workers, draw, tally)
        if given.drivers:
            case_with("alone")
            soak_drivers(alone, folder / "counted.yaml", given.drivers, draw, expected, tally)
        if given.services:
            case_with("alone")
            soak_services(alone, folder / "counted.yaml", given.services, draw, expected, tally)
        if given.searches:
            soak_searches(folder, given.searches, draw, tally)
    kills = sum(number for what, number in tally.items() if what.startswith("killed"))
    print(json.dumps({"seed": seed, **tally}) if given.json else f"seed {seed}: {kills} kills; {dict(tally)}")
    sys.exit(bool(tally["runs that ended otherwise"] or tally["longer than 30 s to the end"]))


if __name__ == "__main__":
    main()
