"""Rows that a task does not label teach it: on any number of workers, in pieces, after a resume, and not unasked."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from pipelines.base.errors import UserError
from pipelines.batches.augmentation import perturbations, strong_draws
from pipelines.batches.batch import batch_sampler, finish_batch, open_readers, stored_batch
from pipelines.case.build import tasks_of
from pipelines.case.load import load_case
from pipelines.experiment.identity import identity
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.writer import CheckpointWriter
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker
from tests.two_workers import train_share

SHORT = [
    "training.steps=10",
    "training.batch_size=13",
    "training.seeds=[3]",
    "network={backbone: small_cnn, widths: [8, 16]}",
    "training.mixing={digit_pictures: 2, trait_pictures: 11}",
    "training.matching={dm: {weight: 0.5}, ill: {weight: 0.3}, warmup_steps: 4}",
    "arms={joint: {}}",
    "evaluation.baseline=joint",
    "training.augmentation={crop: 1}",
]
# A low threshold, so that a young network has pseudo-labels at all.
ALL = (
    "training.unlabelled={pseudo_labels: {weight: 1, threshold: 0.3, thresholds: flexible, relatedness: join}, "
    "consistency: {weight: 2}, evaluated: average, decay: 0.8, warmup_steps: 3}"
)
AVERAGE_LABELS = (
    "training.unlabelled={pseudo_labels: {weight: 1, threshold: 0.3, relatedness: agree, read_from: average}}"
)


@pytest.fixture(scope="module")
def data_sets(ray_local, digits_store):
    torch.set_num_threads(1)
    ingest(case := load_case("digits", [f"storage.path={digits_store}"]))
    return ingested(case)


@pytest.fixture
def fit(data_sets, tmp_path):
    """Train the joint network in this process; return its losses, its weights, and its run's folder."""

    def of(*settings, store="store"):
        case = load_case("digits", [f"storage.path={tmp_path / store}", *SHORT, *settings])
        run = list_runs(case)[0]
        work = WorkerAssignment(case, (run,), data_sets, experiment_folder(case), "a")
        train_run(work, run, open_training_data(case, data_sets), Worker())
        return found(case)

    return of


def found(case):
    folder = Path(list_runs(case)[0].folder(experiment_folder(case)))
    return pq.read_table(folder / HISTORY).to_pandas(), safetensors.torch.load_file(folder / WEIGHTS), folder


def assert_same(one, other, rtol=1e-4, atol=2e-5):
    assert list(one[0]) == list(other[0])
    np.testing.assert_allclose(other[0], one[0], rtol=rtol, atol=atol)
    for name, weight in one[1].items():
        torch.testing.assert_close(other[1][name], weight, rtol=10 * rtol, atol=10 * atol, msg=name)


def test_every_task_learns_from_the_rows_of_the_others(fit):
    history = fit(ALL)[0]
    for name in ("digit", "traits"):
        assert (history[f"pseudo:{name}"] > 0).any()
        assert (history[f"consistency:{name}"] > 0).any()
    assert not any(":" in name and "->" not in name for name in fit(store="off")[0])


def test_a_batch_in_pieces_gives_the_same_curve(fit):
    assert_same(fit(ALL), fit(ALL, "training.accumulate=3", store="pieces"))


def test_two_workers_give_the_curve_of_one(fit, data_sets, two_workers, tmp_path):
    case = load_case("digits", [f"storage.path={tmp_path / 'two'}", *SHORT, ALL, "training.workers=2"])
    two_workers(train_share, case, data_sets)
    assert_same(fit(ALL), found(case), rtol=3e-4, atol=5e-5)


SHIFTED = "training.matching={sca: {weight: 0.5, prior: shifted}}"


@pytest.mark.parametrize("settings", [ALL, AVERAGE_LABELS, SHIFTED], ids=["all", "labels of the average", "priors"])
def test_a_run_that_goes_on_ends_bit_identically(fit, settings, monkeypatch):
    whole = fit(settings, store="whole")
    put = CheckpointWriter.put

    def put_until(writer, checkpoint):
        put(writer, checkpoint)
        if checkpoint.about.step == 5:
            writer.flush()
            raise KeyboardInterrupt

    every = "training.checkpoints.every_steps=1"
    with monkeypatch.context() as patched:
        patched.setattr(CheckpointWriter, "put", put_until)
        with pytest.raises(KeyboardInterrupt):
            fit(settings, every)
    again = fit(settings, every)
    assert '"resumed with' in (again[2] / "run.json").read_text()
    assert again[0].equals(whole[0])
    assert all(torch.equal(again[1][name], weight) for name, weight in whole[1].items())


def test_the_average_is_what_is_kept_and_leaves_training_as_it_is(fit):
    plain = fit()
    averaged = fit("training.unlabelled={evaluated: average, decay: 0.9}", store="averaged")
    assert averaged[0].equals(plain[0]), "the losses are those of the network"
    assert not any(torch.equal(averaged[1][name], weight) for name, weight in plain[1].items())
    newest = fit("training.unlabelled={evaluated: average, decay: 0}", store="newest")
    assert all(torch.equal(newest[1][name], weight) for name, weight in plain[1].items())


def test_a_warm_up_begins_with_little_of_the_couplings_and_ends_with_all(fit):
    """The parts are reported unweighted; the loss is their weighted sum."""
    history = fit()[0]
    parts = 0.5 * history["dm:digit->traits"] + 0.3 * history["ill:traits->digit"]
    ramp = (np.arange(1, 11) / 5).clip(max=1)
    np.testing.assert_allclose(history["loss"], history["digit"] + history["traits"] + ramp * parts, rtol=1e-5)


def test_a_strong_view_is_the_rows_own_whoever_asks_and_apart_from_the_weak_one(data_sets):
    case = load_case("digits", [*SHORT, ALL])
    readers = open_readers(case, data_sets, "train")
    plan = batch_sampler(case, {name: len(reader) for name, reader in readers.items()}, 3, list(case.tasks))
    tasks, strong = list(tasks_of(case).values()), case.training.unlabelled.strong

    def views(rank, world_size):
        stored = stored_batch(case, readers, plan, 7, rank, world_size, tasks, strong=strong)
        return finish_batch(stored, case, strong=strong)

    whole, halves = views(0, 1), [views(0, 2), views(1, 2)]
    together = sorted(tuple(row.flatten().tolist()) for half in halves for row in half.strong)
    assert together == sorted(tuple(row.flatten().tolist()) for row in whole.strong)
    assert not torch.equal(whole.x, whole.strong)
    without = stored_batch(case, readers, plan, 7, 0, 1, tasks)
    assert torch.equal(finish_batch(without, case).x, whole.x), "the weak view does not depend on a strong one"


def test_perturbations_are_functions_of_the_row_and_have_the_moments_asked_for():
    rows = np.arange(400)
    keep, added = perturbations(1, 2, 3, rows, 50, noise=0.5, dropout=0.2).unbind(dim=1)
    assert abs(keep.mean() - 0.8) < 0.02
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    assert abs(added.std() - 0.5) < 0.01
    assert abs(added.mean()) < 0.01
    assert torch.equal(perturbations(1, 2, 3, rows[5:9], 50, 0.5, 0.2)[:, 1], added[5:9])
    assert not np.array_equal(strong_draws(1, 2, 3, rows), strong_draws(1, 3, 3, rows))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["training.augmentation={mixup: 0.2}", "training.unlabelled.consistency.weight=1"], "augmentation.mixup too"),
        (["training.shard=true", "training.unlabelled.evaluated=average"], "training.shard too"),
        (["training.unlabelled={consistency: {weight: 1}, strong: {noise: 1}}"], "found noise; inputs are images"),
        (["training.unlabelled={consistency: {weight: 1}, strong: {crop: 8}}"], "strong.crop: found 8"),
        (["training.unlabelled={consistency: {weight: 1}, warmup_steps: 300}"], "warmup_steps: found 300"),
        (["training.unlabelled={pseudo_labels: {weight: 1, threshold: 1.5}}"], "threshold: found 1.5"),
        (["training.matching.warmup_steps=300"], "matching.warmup_steps: found 300; expected fewer"),
        (["training.matching.warmup_steps=9", "training.balancing.method=dwa"], "'dwa' compares losses"),
        (
            [
                "training.unlabelled={consistency: {weight: 1}, strong: {brightness: 0, contrast: 0, saturation: 0, "
                "erasing: 0}}"
            ],
            "nothing that alters images",
        ),
    ],
)
def test_what_cannot_be_is_told_before_anything_starts(settings, told):
    with pytest.raises(UserError, match=told):
        load_case("digits", settings)


def test_an_arm_may_do_without(data_sets):
    case = load_case("digits", [ALL, "arms={joint: {}, plain: {unlabelled: {}}}", "evaluation.baseline=joint"])
    assert case.unlabelled_of("joint").has_losses
    assert not case.unlabelled_of("plain").has_losses
    assert case.trained_as("plain") == "plain"
    joint, plain = (identity(case, run) for run in list_runs(case) if run.seed == case.training.seeds[0])
    assert joint != plain, "neither is taken for the other in another experiment"
