"""A run that is killed at any moment goes on, and ends with the bits that it would have ended with."""

import json
import multiprocessing
import multiprocessing.connection
import resource
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from pipelines.base.errors import UserError
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.batches.batch import batch_sampler
from pipelines.case.load import load_case
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.compatibility import check_resumable
from pipelines.train.checkpoints.file import step_of, unpack
from pipelines.train.checkpoints.store import checkpoint_names, read_checkpoint
from pipelines.train.checkpoints.writer import CheckpointNotWrittenError, CheckpointWriter
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker
from tests.object_storage import environment_for, make_bucket, proxy, s3_server
from tests.pipelines.counted_case import SIZES, planned_counts, write_counted_case
from tests.two_workers import join_workers, train_share

KILLS = 8


@pytest.fixture(scope="module")
def case(ray_local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    case = load_case(str(write_counted_case(folder)), [f"storage.path={folder / 'store'}"])
    ingest(case)
    return case


@pytest.fixture(scope="module")
def case_without_dropout(ray_local, tmp_path_factory):
    """Whose numbers are those of any number of workers, up to rounding."""
    folder = tmp_path_factory.mktemp("counted-without-dropout")
    case = load_case(str(write_counted_case(folder, {"dropout": 0.0})), [f"storage.path={folder / 'store'}"])
    ingest(case)
    return case


def folder_of(case, experiment):
    return Path(list_runs(case)[0].folder(str(experiment)))


def work_of(case, experiment):
    return WorkerAssignment(case, tuple(list_runs(case)), ingested(case), str(experiment), "attempt")


def train_alone(case, experiment):
    """What a single worker does, in a process of its own."""
    torch.set_num_threads(1)
    work = work_of(case, experiment)
    train_run(work, work.runs[0], open_training_data(case, work.data_sets), Worker())


def train_together(case, experiment, rank, workers, store):
    """What one of several workers does, in a process of its own."""
    join_workers(rank, workers, store)
    train_share(rank, case, ingested(case), experiment)


def started(processes, case, experiment, workers):
    """Start the processes of some workers."""
    store = (Path(tempfile.mkdtemp(dir=experiment.parent)) / "store").as_uri()
    group = [
        processes.Process(target=train_together, args=(case, experiment, rank, workers, store))
        for rank in range(workers)
    ]
    for process in group:
        process.start()
    return group


def alive_after(group, seconds):
    """Say whether all of some processes go on for so long; wait no longer than that."""
    multiprocessing.connection.wait([process.sentinel for process in group], timeout=seconds)
    return all(process.exitcode is None for process in group)


def killed(group):
    for process in group:
        process.kill()
    for process in group:
        process.join()


def kill_after_step_30(group, case, experiment):
    while not (found := checkpoints_of(case, experiment)) or step_of(found[-1].name) < 30:
        assert [process.exitcode for process in group] == [None] * len(group)
        group[0].join(timeout=0.01)
    killed(group)


def assert_done(group):
    for process in group:
        process.join()
    assert [process.exitcode for process in group] == [0] * len(group)


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
    while kills < KILLS or went_on < KILLS // 4:  # where a step takes long, most are killed before a checkpoint
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
        went_on += sum("resumed" in event["what"] for event in its_events)
        assert not checkpoints_of(case, experiment)
        shutil.rmtree(experiment)


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_three_workers_killed_at_random_moments_end_with_their_own_bits(
    case, processes, undisturbed, tmp_path, sharded
):
    # More than two addends are summed in some order: it must not depend on when a run went on.
    case = case.model_copy(update={"training": case.training.model_copy(update={"shard": sharded})})
    assert_done(started(processes, case, tmp_path / "three", 3))
    weights, history, trust, events = what_a_run_leaves(case, tmp_path / "three")
    assert events == []
    assert weights != what_a_run_leaves(case, undisturbed)[0], "dropout draws for every worker"
    draw = np.random.Generator(np.random.PCG64(2))
    kills, went_on, longest = 0, 0, 3.0
    while kills < 2 or not went_on:
        group = started(processes, case, tmp_path / "killed", 3)
        while alive_after(group, draw.uniform(0, longest)):
            killed(group)
            kills += 1
            longest *= 1.1  # on a slow machine too, it comes to its end
            group = started(processes, case, tmp_path / "killed", 3)
        assert_done(group)
        found, of_killed, its_trust, its_events = what_a_run_leaves(case, tmp_path / "killed")
        assert found == weights
        assert of_killed.equals(history)
        assert its_trust == trust
        went_on += sum("resumed with 3" in event["what"] for event in its_events)
        shutil.rmtree(tmp_path / "killed")


@pytest.mark.parametrize(("first", "then"), [(1, 3), (3, 2), (3, 1)])
def test_continued_by_another_number_of_workers_the_batches_are_the_same(
    case_without_dropout, processes, tmp_path, first, then
):
    case = case_without_dropout
    assert_done(started(processes, case, tmp_path / "undisturbed", first))
    group = started(processes, case, tmp_path / "killed", first)
    kill_after_step_30(group, case, tmp_path / "killed")
    assert_done(started(processes, case, tmp_path / "killed", then))
    (_, whole, _, _), (_, changed, _, events) = (
        what_a_run_leaves(case, tmp_path / name) for name in ("undisturbed", "killed")
    )
    assert [event["what"] for event in events] == [f"resumed with {then} worker{'s' * (then > 1)}"]
    np.testing.assert_allclose(changed.to_pandas(), whole.to_pandas(), rtol=1e-4, atol=1e-5)
    for name in ("undisturbed", "killed"):
        assert counts_of(case, tmp_path / name) == planned(case)


def test_every_row_is_trained_on_as_often_as_the_plan_says(case, undisturbed):
    assert min(planned(case)[1:]) >= 4
    assert counts_of(case, undisturbed) == planned(case)


def planned(case):
    return planned_counts(batch_sampler(case, SIZES, 0, ["kind", "signs"]), case.training.steps).tolist()


def counts_of(case, experiment):
    return safetensors.torch.load_file(folder_of(case, experiment) / WEIGHTS)["backbone.counts"].tolist()


def checkpoints_of(case, experiment):
    return sorted(folder_of(case, experiment).glob("checkpoints/step-*"))


@pytest.fixture(scope="module")
def begun_once(case, processes, tmp_path_factory):
    experiment = tmp_path_factory.mktemp("begun")
    process = processes.Process(target=train_alone, args=(case, experiment))
    process.start()
    kill_after_step_30([process], case, experiment)
    return experiment


@pytest.fixture
def begun(begun_once, tmp_path):
    """An experiment that was killed when it had written some checkpoints."""
    return shutil.copytree(begun_once, tmp_path / "begun")


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
    assert events[0]["what"] == "resumed with 1 worker"
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
    monkeypatch.setattr("pipelines.experiment.provenance.TRAINING_VERSION", -1)
    with pytest.raises(
        UserError,
        match=r"stands at step \d+; since then Kindred's training version has changed.*--allow-version-mismatch",
    ) as told:
        check_resumable(list_runs(case), str(begun), ingested(case), allow_version_mismatch=False)
    assert "--fresh begins again" in str(told.value)
    check_resumable(list_runs(case), str(begun), ingested(case), allow_version_mismatch=True)
    made = ingested(case)
    manifests = {name: of.model_copy(update={"content_hash": "0"}) for name, of in made.manifests.items()}
    other = replace(made, manifests=manifests)
    with pytest.raises(UserError, match=r"the training data have changed\. --fresh"):
        check_resumable(list_runs(case), str(begun), other, allow_version_mismatch=True)


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
    assert events[0]["what"] == "resumed with 1 worker"
    assert "step-000000119" in events[1]["what"]
    assert checkpoint_names(checkpoints) == []
    bucket.count()
    assert bucket.failed.total() >= 5
