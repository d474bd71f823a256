"""Workers and drivers that are killed under a real Ray: training goes on, by itself or with `kindred resume`."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import safetensors.torch

from pipelines.batches.batch import batch_sampler
from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingest
from pipelines.train.checkpoints.file import step_of
from tests.commands import environment, kindred_here
from tests.counting_backbone import let_go, standing
from tests.pipelines.counted_case import SIZES, planned_counts, write_counted_case
from tests.processes import actors, ending_with, wait_until

STEPS, BATCH = 60, 24
# Amid which step a worker, and the driver, is killed: both workers stand still then, so that neither has ended, and
# whatever is killed is at work. Checkpoints come every five steps.
WORKER, DRIVER = 13, 43


def newest_step(case):
    return max((step_of(file.name) for file in folder_of(case).glob("checkpoints/step-*")), default=0)


def folder_of(case):
    return Path(list_runs(case)[0].folder(experiment_folder(case)))


def what_a_run_leaves(case):
    folder = folder_of(case)
    return (folder / WEIGHTS).read_bytes(), pq.read_table(folder / HISTORY), read_record(str(folder))


@pytest.mark.starts_ray
def test_a_killed_worker_is_replaced_and_a_killed_driver_resumed_and_the_bits_are_the_same(
    ray_local, two_workers, tmp_path
):
    data, gate = tmp_path / "data", tmp_path / "gate"
    gate.mkdir()
    undisturbed = load_case(
        str(write_counted_case(data, steps=STEPS, workers=2)), [f"storage.path={tmp_path / 'undisturbed'}"]
    )
    ingest(undisturbed)
    two_workers.train(undisturbed)
    stands = {"gate": str(gate), "stands_at": [WORKER * BATCH, DRIVER * BATCH]}
    file = write_counted_case(data, stands, steps=STEPS, workers=2, max_failures=-1)
    settings = ["--set", f"storage.path={tmp_path / 'store'}"]
    case = load_case(str(file), settings[1:])
    ingest(case)
    driver = subprocess.Popen([sys.executable, "-m", "pipelines", "train", str(file), *settings], env=environment())

    def both_stand(step):
        def stand():
            return len(standing(gate, step * BATCH)) == 2 and newest_step(case) == step - step % 5

        wait_until(stand, f"both stand amid step {step}", seconds=300, still=lambda: driver.poll() is None)

    try:
        both_stand(WORKER)
        psutil.Process(standing(gate, WORKER * BATCH)[1]).kill()
        let_go(gate, WORKER * BATCH)  # the other one meets a peer that is gone
        both_stand(DRIVER)
        working, started = actors(of=driver.pid), ending_with(driver)
    finally:
        driver.kill()
        driver.wait()
    wait_until(lambda: not any(process.is_running() for process in started), "its processes ended")
    let_go(gate, DRIVER * BATCH)
    assert working >= {"ProgressActor", "TrainController", "RayTrainWorker"}
    assert "PreemptionWatcher" not in working, "nobody takes the one node of a Ray of its own away"

    # Neither the case file nor the sources are needed, and the storage may lie elsewhere.
    file.unlink()
    for source in data.glob("*.npz"):
        source.unlink()
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    done = kindred_here("resume", str(moved / Path(experiment_folder(case)).name), "--json", "--run-code")
    assert done.returncode == 0, done.stderr
    assert (moved / Path(experiment_folder(case)).name / "report.html").samefile(json.loads(done.stdout)["report"])

    case = case.model_copy(update={"storage": case.storage.model_copy(update={"path": str(moved)})})
    weights, history, record = what_a_run_leaves(case)
    expected, of_undisturbed, _ = what_a_run_leaves(undisturbed)
    assert weights == expected
    assert history.equals(of_undisturbed)
    resumed = [(event["step"], event["what"]) for event in record["events"]]
    assert resumed == [(step - step % 5, "resumed with 2 workers") for step in (WORKER, DRIVER)]
    plan = batch_sampler(case, SIZES, 0, ["kind", "signs"])
    counted = safetensors.torch.load_file(folder_of(case) / WEIGHTS)
    assert counted["backbone.counts"].tolist() == planned_counts(plan, STEPS).tolist()
    done = kindred_here(
        "resume", str(moved / Path(experiment_folder(case)).name), "--set", "training.steps=5", "--run-code"
    )
    assert done.returncode == 2
    assert "make another experiment" in done.stderr
