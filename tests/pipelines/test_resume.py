"""A run that is killed at any moment goes on, and ends with the bits that it would have ended with."""

import json
import multiprocessing
import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from pipelines.batches import mixing_plan
from pipelines.case_file import load_case
from pipelines.errors import UserError
from pipelines.ingest import ingest, ingested
from pipelines.runs import HISTORY, WEIGHTS, list_runs, read_record
from pipelines.storage import join, read_bytes, write_whole
from pipelines.training.begun import check_begun
from pipelines.training.checkpoint import step_of, unpack
from pipelines.training.checkpoint_folder import checkpoint_names, read_checkpoint
from pipelines.training.checkpoint_writer import CheckpointNotWrittenError, CheckpointWriter
from pipelines.training.train_run import train_run
from pipelines.training.training_data import open_training_data
from pipelines.training.work import Work
from pipelines.training.worker import Worker
from tests.object_storage import environment_for, make_bucket, proxy, s3_server
from tests.pipelines.counted_case import SIZES, planned_counts, write_counted_case

KILLS = 20


@pytest.fixture(scope="module")
def case(ray_local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    case = load_case(str(write_counted_case(folder)), [f"storage.path={folder / 'store'}"])
    ingest(case)
    return case


def folder_of(case, experiment):
    return Path(list_runs(case)[0].folder(str(experiment)))


def work_of(case, experiment):
    return Work(case, tuple(list_runs(case)), ingested(case), str(experiment), "attempt")


def train_alone(case, experiment):
    """What a single worker does, in a process of its own."""
    torch.set_num_threads(1)
    work = work_of(case, experiment)
    train_run(work, work.runs[0], open_training_data(case, work.data_sets), Worker())


@pytest.fixture(scope="module")
def processes():
    """Processes that start at once, everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "mtlcore", "torch._dynamo", "torchjd"])
    return context


@pytest.fixture(scope="module")
def undisturbed(case, processes, tmp_path_factory):
    experiment = tmp_path_factory.mktemp("undisturbed")
    process = processes.Process(target=train_alone, args=(case, experiment))
    process.start()
    process.join()
    assert process.exitcode == 0
    return experiment


def what_a_run_leaves(case, experiment):
    folder = folder_of(case, experiment)
    record = read_record(str(folder))
    return (folder / WEIGHTS).read_bytes(), pq.read_table(folder / HISTORY), record["trust"], record["events"]


def test_killed_at_random_moments_it_ends_with_the_same_bits(case, processes, undisturbed, tmp_path):
    weights, history, trust, events = what_a_run_leaves(case, undisturbed)
    assert events == []
    draw = np.random.Generator(np.random.PCG64(1))
    kills, went_on, longest = 0, 0, 1.0
    while kills < KILLS:
        experiment = tmp_path / "killed"
        while True:
            process = processes.Process(target=train_alone, args=(case, experiment))
            process.start()
            process.join(timeout=draw.uniform(0, longest))
            if process.exitcode is not None:
                assert process.exitcode == 0
                break
            process.kill()
            process.join()
            kills += 1
            longest *= 1.05  # on a slow machine too, it comes to its end
        found, of_killed, its_trust, its_events = what_a_run_leaves(case, experiment)
        assert found == weights
        assert of_killed.equals(history)
        assert its_trust == trust
        went_on += sum("went on" in event["what"] for event in its_events)
        assert not [file.name for file in folder_of(case, experiment).rglob("*") if "step-" in file.name]
        shutil.rmtree(experiment)
    assert went_on >= KILLS // 4, "most were killed before their first checkpoint"


def test_every_row_is_trained_on_as_often_as_the_plan_says(case, undisturbed):
    plan = mixing_plan(case, SIZES, 0, ["kind", "signs"])
    planned = planned_counts(plan, case.training.steps)
    assert planned[1:].min() >= 4
    counted = safetensors.torch.load_file(folder_of(case, undisturbed) / WEIGHTS)["backbone.counts"]
    assert counted.tolist() == planned.tolist()


def checkpoints_of(case, experiment):
    return sorted(folder_of(case, experiment).glob("checkpoints/step-*"))


@pytest.fixture
def begun(case, processes, tmp_path):
    """An experiment that was killed when it had written some checkpoints."""
    process = processes.Process(target=train_alone, args=(case, tmp_path))
    process.start()
    while not (found := checkpoints_of(case, tmp_path)) or step_of(found[-1].name) < 30:
        assert process.exitcode is None
        process.join(timeout=0.01)
    process.kill()
    process.join()
    return tmp_path


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "another's name"])
def test_a_checkpoint_that_is_not_whole_is_passed_over_for_the_one_before(case, begun, undisturbed, damage):
    *_, before, last = checkpoints_of(case, begun)
    content = last.read_bytes()
    if damage == "cut":
        last.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        last.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
    elif damage == "empty":
        last.write_bytes(b"")
    else:
        last.write_bytes(before.read_bytes())
    train_alone(case, begun)
    weights, _, _, events = what_a_run_leaves(case, begun)
    assert weights == what_a_run_leaves(case, undisturbed)[0]
    assert [event["step"] for event in events] == [step_of(before.name)] * 2
    assert events[0]["what"] == "went on with 1 worker"
    assert last.name in events[1]["what"]
    assert "not those that were written" in events[1]["what"]


def test_where_no_checkpoint_is_whole_it_begins_again_and_says_so(case, begun, undisturbed):
    files = checkpoints_of(case, begun)
    for file in files:
        file.write_bytes(b"{}")
    train_alone(case, begun)
    weights, _, _, events = what_a_run_leaves(case, begun)
    assert weights == what_a_run_leaves(case, undisturbed)[0]
    assert [event["step"] for event in events] == [0] * len(files)


def test_a_run_begun_by_other_code_is_refused_with_what_can_be_done(case, begun, monkeypatch):
    monkeypatch.setattr("pipelines.runs.code_digest", lambda: "0" * 12)
    with pytest.raises(
        UserError, match=r"stands at step \d+; since then Kindred's code has changed.*--other-code"
    ) as told:
        check_begun(list_runs(case), str(begun), ingested(case), other_code=False)
    assert "--fresh begins again" in str(told.value)
    check_begun(list_runs(case), str(begun), ingested(case), other_code=True)
    other = {
        name: (folder, of.model_copy(update={"content_hash": "0"})) for name, (folder, of) in ingested(case).items()
    }
    with pytest.raises(UserError, match=r"the training data have changed\. --fresh"):
        check_begun(list_runs(case), str(begun), other, other_code=True)


def test_a_checkpoint_holds_everything_and_nothing_pickled(case, begun):
    file = checkpoints_of(case, begun)[-1]
    checkpoint = unpack(file.name, file.read_bytes())
    kinds = {name.partition(".")[0] for name in checkpoint.tensors}
    assert kinds == {"network", "optimizer", "balancer", "trust", "trust_optimizer", "history", "validation", "log"}
    assert checkpoint.about.step == step_of(file.name) == len(checkpoint.tensors["history"])
    assert set(checkpoint.about.versions) == {"torch", "ray", "python"}
    assert json.loads(file.read_bytes()[8 : 8 + int.from_bytes(file.read_bytes()[:8], "little")]), "safetensors' header"


def train_on_a_full_disk(case, experiment, told):
    """No file may become as large as a checkpoint; what the system answers then differs from ENOSPC by a word."""
    largest = max(file.stat().st_size for file in checkpoints_of(case, experiment)) - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    try:
        train_alone(case, experiment)
    except CheckpointNotWrittenError as error:
        told.put(str(error))


def test_on_a_full_disk_the_run_ends_with_one_message_and_goes_on_when_there_is_room(
    case, processes, begun, undisturbed
):
    before = {file.name: file.read_bytes() for file in checkpoints_of(case, begun)}
    told = processes.SimpleQueue()
    process = processes.Process(target=train_on_a_full_disk, args=(case, begun, told))
    process.start()
    process.join()
    newest = max(before)
    assert told.get().endswith(f"File too large; the newest that is whole is {newest}")
    left = folder_of(case, begun) / "checkpoints"
    assert {file.name: file.read_bytes() for file in left.iterdir()} == before
    train_alone(case, begun)
    weights, _, _, (went_on,) = what_a_run_leaves(case, begun)
    assert weights == what_a_run_leaves(case, undisturbed)[0]
    assert went_on["step"] == step_of(newest)


def test_weights_that_are_not_finite_never_become_a_checkpoint(case, begun, tmp_path):
    name = checkpoints_of(case, begun)[-1].name
    checkpoint = read_checkpoint(str(folder_of(case, begun) / "checkpoints"), name)
    broken = {key: tensor.clone() for key, tensor in checkpoint.tensors.items()}
    broken["network.backbone.layers.0.weight"][0, 0] = torch.nan
    with CheckpointWriter(str(tmp_path / "new"), keep=2) as writer:
        writer.put(checkpoint)
        writer.flush()
        writer.put(checkpoint.model_copy(update={"tensors": broken}))
        with pytest.raises(
            CheckpointNotWrittenError, match=r"backbone\.layers\.0\.weight of the network is not"
        ) as told:
            writer.flush()
    assert str(told.value).endswith(f"the newest that is whole is {name}")
    assert [file.name for file in (tmp_path / "new").iterdir()] == [name]


def test_the_newest_are_kept_and_a_slow_storage_gets_fewer(case, begun, tmp_path):
    checkpoint = read_checkpoint(str(folder_of(case, begun) / "checkpoints"), checkpoints_of(case, begun)[-1].name)
    steps = range(100, 160)
    with CheckpointWriter(str(tmp_path / "new"), keep=3) as writer:
        for step in steps:
            writer.put(checkpoint.model_copy(update={"about": checkpoint.about.model_copy(update={"step": step})}))
            if step in steps[:4]:
                writer.flush()
    found = [step_of(name) for name in checkpoint_names(str(tmp_path / "new"))]
    assert len(found) == 3
    assert found == sorted(found, reverse=True)
    assert found[0] == steps[-1], "however many were dropped, the last is there"


@pytest.fixture
def bucket(monkeypatch):
    """An S3 endpoint of which every tenth request fails, in the environment of its clients."""
    with s3_server() as port, proxy(port, fail_every=10) as passing:
        make_bucket(port, "of-trouble")  # clients are kept by bucket
        for name, value in environment_for(passing.port).items():
            monkeypatch.setenv(name, value)
        yield passing


def test_in_object_storage_that_fails_every_tenth_request_it_goes_on_all_the_same(case, processes, bucket, undisturbed):
    experiment = "s3://of-trouble/experiment"
    checkpoints = join(list_runs(case)[0].folder(experiment), "checkpoints")
    process = multiprocessing.get_context("spawn").Process(target=train_alone, args=(case, experiment))
    process.start()
    while len(checkpoint_names(checkpoints)) < 2:
        assert process.exitcode is None
    process.kill()
    process.join()
    write_whole(join(checkpoints, "step-000000119-" + "0" * 32 + ".safetensors"), b"half a checkp")
    train_alone(case, experiment)
    folder = list_runs(case)[0].folder(experiment)
    assert read_bytes(join(folder, WEIGHTS)) == what_a_run_leaves(case, undisturbed)[0]
    events = read_record(folder)["events"]
    assert events[0]["what"] == "went on with 1 worker"
    assert "step-000000119" in events[1]["what"]
    assert checkpoint_names(checkpoints) == []
    bucket.count()
    assert bucket.failed.total() >= 5
