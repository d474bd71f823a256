"""Workers and drivers that are killed under a real Ray: training goes on, by itself or with `kindred resume`."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch

from pipelines.batches.batch import batch_sampler
from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.checkpoints.file import step_of
from pipelines.train.launch import train
from tests.commands import environment, kindred_here
from tests.pipelines.counted_case import SIZES, planned_counts, write_counted_case
from tests.pipelines.one_worker import train_here
from tests.processes import actors, descendants, ending_with, wait_until

STEPS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("counted")


@pytest.fixture
def case_in(ray_local, folder):
    def load(store, **training):
        case = load_case(str(write_counted_case(folder, steps=STEPS, **training)), [f"storage.path={folder / store}"])
        ingest(case)
        return case

    return load


def newest_step(case):
    return max((step_of(file.name) for file in folder_of(case).glob("checkpoints/step-*")), default=0)


def folder_of(case):
    return Path(list_runs(case)[0].folder(experiment_folder(case)))


def what_a_run_leaves(case):
    folder = folder_of(case)
    return (folder / WEIGHTS).read_bytes(), pq.read_table(folder / HISTORY), read_record(str(folder))


def assert_counted_as_planned(case):
    plan = batch_sampler(case, SIZES, 0, ["kind", "signs"])
    counted = safetensors.torch.load_file(folder_of(case) / WEIGHTS)
    assert counted["backbone.counts"].tolist() == planned_counts(plan, STEPS).tolist()


def test_workers_that_are_killed_are_replaced_and_the_bits_are_the_same(case_in, two_workers):
    undisturbed = case_in("undisturbed", workers=2)
    two_workers.train(undisturbed)
    case = case_in("killed", workers=2, max_failures=-1)
    draw = np.random.Generator(np.random.PCG64(0))
    moments = sorted(draw.integers(10, STEPS - 30, size=2).tolist())
    training = threading.Thread(target=train, args=(case, ingested(case)))
    training.start()
    for moment in moments:
        wait_until(lambda at=moment: newest_step(case) >= at, f"step {moment}", still=training.is_alive)
        victims = descendants("RayTrainWorker")
        victims[int(draw.integers(len(victims)))].kill()
    training.join()

    weights, history, record = what_a_run_leaves(case)
    expected, of_undisturbed, _ = what_a_run_leaves(undisturbed)
    assert [event["what"] for event in record["events"]] == ["resumed with 2 workers"] * len(moments)
    assert all(event["step"] >= moment for event, moment in zip(record["events"], moments, strict=True))
    assert weights == expected
    assert history.equals(of_undisturbed)
    assert_counted_as_planned(case)


@pytest.mark.starts_ray
def test_a_driver_that_is_killed_leaves_a_run_that_resume_ends_with_the_same_bits(ray_local, folder, tmp_path):
    file = write_counted_case(folder, steps=STEPS)
    settings = ["--set", f"storage.path={tmp_path / 'store'}"]
    case = load_case(str(file), settings[1:])
    ingest(case)
    (alone,) = train_here(case, experiment=tmp_path / "undisturbed").values()
    undisturbed = (alone / WEIGHTS).read_bytes()
    driver = subprocess.Popen([sys.executable, "-m", "pipelines", "train", str(file), *settings], env=environment())
    wait_until(lambda: newest_step(case) >= 40, "step 40", still=lambda: driver.poll() is None)
    working, started = actors(of=driver.pid), ending_with(driver)
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(process.is_running() for process in started), "its processes ended")
    assert working >= {"ProgressActor", "TrainController", "RayTrainWorker"}
    assert "PreemptionWatcher" not in working, "nobody takes the one node of a Ray of its own away"
    assert newest_step(case) < STEPS

    # Neither the case file nor the sources are needed, and the storage may lie elsewhere.
    file.unlink()
    for data in folder.glob("*.npz"):
        data.unlink()
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    done = kindred_here("resume", str(moved / Path(experiment_folder(case)).name), "--json", "--run-code")
    assert done.returncode == 0, done.stderr
    assert (moved / Path(experiment_folder(case)).name / "report.html").samefile(json.loads(done.stdout)["report"])

    case = case.model_copy(update={"storage": case.storage.model_copy(update={"path": str(moved)})})
    weights, _, record = what_a_run_leaves(case)
    assert weights == undisturbed
    assert [event["what"] for event in record["events"]] == ["resumed with 1 worker"]
    assert_counted_as_planned(case)
    done = kindred_here(
        "resume", str(moved / Path(experiment_folder(case)).name), "--set", "training.steps=5", "--run-code"
    )
    assert done.returncode == 2
    assert "make another experiment" in done.stderr
