"""Training on a real local Ray: the same numbers whatever the workers, and every arm on the same rows."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from pipelines.base.errors import UserError
from pipelines.batches.batch import batch_sampler, open_readers
from pipelines.blocks.cache import DamagedBlockError
from pipelines.case.build import build_network
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, RECORD, WEIGHTS, is_done, list_runs
from pipelines.ingest.ingest import ingested
from pipelines.train.launch import train
from tests.pipelines.one_worker import train_here

SHORT = ["training.steps=25", "training.seeds=[3]", "training.batch_size=8", "evaluation.replicates=20"]
# One digit-labelled image a batch: of two workers, one holds no label of the digit task in any step.
ONE_DIGIT = ["training.mixing={digit_pictures: 1, trait_pictures: 7}"]
ALL_LOSSES = [
    "training.matching={dm: {weight: 0.5, direction: symmetric}, sca: {weight: 0.5, tau_co: 0.1}, ill: {weight: 0.3}}"
]


@pytest.fixture
def case_of(digits_case):
    return partial(digits_case, *SHORT)


def trained(case, by=train_here):
    """Return history and weights by run."""
    return left_by(by(case))


def left_by(folders):
    return {
        run: (pq.read_table(folder / HISTORY).to_pandas(), safetensors.torch.load_file(folder / WEIGHTS))
        for run, folder in folders.items()
    }


@pytest.mark.parametrize(
    ("network", "augmentation"),
    [
        ("mlp, widths: [32, 32]", ""),
        (
            "small_cnn, widths: [8, 16], sharing: ple",
            "crop: 1, brightness: 0.3, contrast: 0.2, erasing: 0.3, mixup: 0.4",
        ),
    ],
)
def test_one_and_two_workers_give_the_same_curve(case_of, two_workers, network, augmentation):
    settings = [
        *ONE_DIGIT,
        *ALL_LOSSES,
        f"network={{backbone: {network}}}",
        f"training.augmentation={{{augmentation}}}",
    ]
    plan = batch_sampler(case_of(*settings), {"digit_pictures": 50, "trait_pictures": 947}, 3, ["digit", "traits"])
    without_digit = [rank for rank in (0, 1) if not len(plan.worker_rows(0, rank, 2)["digit_pictures"])]
    assert len(without_digit) == 1

    one, two = trained(case_of(*settings)), trained(case_of(*settings), two_workers.train)
    assert {str(run) for run in one} == {str(run) for run in two}
    for run, (history, weights) in one.items():
        others, other_weights = two[run]
        assert list(history) == list(others)
        np.testing.assert_allclose(others, history, rtol=2e-4, atol=2e-5, err_msg=str(run))
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, rtol=1e-3, atol=1e-4, msg=f"{run} {name}")


def test_balanced_arms_give_the_same_curve_on_one_and_two_workers_and_differ_from_each_other(case_of, two_workers):
    settings = [
        *ONE_DIGIT,
        *ALL_LOSSES,
        "network={backbone: mlp, widths: [32, 32]}",
        "training.balancing={method: upgrad, pref_vector: {digit: 1, traits: 2, matching: 0.5}}",
        "arms={single-task: {networks: one_per_task}, upgrad: {}, no-pairs: {matching: {dm: {weight: 0}, "
        "sca: {weight: 0}, ill: {weight: 0}}}, fixed: {balancing: {method: fixed}}, dwa: {balancing: {method: dwa, "
        "period: 5}}, gradnorm: {balancing: {method: gradnorm, lr: 0.1}}}",
    ]
    one, two = trained(case_of(*settings)), trained(case_of(*settings), two_workers.train)
    for run, (history, weights) in one.items():
        others, other_weights = two[run]
        np.testing.assert_allclose(others, history, rtol=2e-3, atol=2e-4, err_msg=str(run))
        for name, weight in weights.items():
            torch.testing.assert_close(other_weights[name], weight, rtol=1e-2, atol=2e-3, msg=f"{run} {name}")
    last = {run.arm: history["loss"].iloc[-1] for run, (history, _) in one.items() if run.network == "shared"}
    assert len({round(loss, 4) for loss in last.values()}) == len(last) == 5


def test_only_what_is_missing_or_of_another_version_is_trained_again_and_to_the_same_bits_on_ray(case_of):
    """Trained in this process, then in part by Ray Train; another seed gives other numbers."""
    # A rate of its own: what other tests have trained in this storage would be copied, not trained again.
    case = case_of("training.seeds=[3, 4]", "training.optimizer.lr=0.00297")
    first = trained(case)
    assert len(first) == 8
    assert {len(history) for history, _ in first.values()} == {25}, "as many updates in every arm"
    of_seed = {run.seed: history for run, (history, _) in first.items() if run.arm == "naive"}
    assert not of_seed[3]["loss"].equals(of_seed[4]["loss"])

    assert train(case, ingested(case)) == 0
    folders = {run: Path(run.folder(experiment_folder(case))) for run in list_runs(case)}
    (missing,) = (run for run in folders if (run.arm, run.seed) == ("co-trained", 3))
    (older,) = (run for run in folders if (run.arm, run.network, run.seed) == ("single-task", "traits", 4))
    (folders[missing] / RECORD).unlink()
    record = json.loads((folders[older] / RECORD).read_text())
    record["provenance"]["training_version"] = 0
    (folders[older] / RECORD).write_text(json.dumps(record))
    for run in (missing, older):
        (folders[run] / WEIGHTS).unlink()
    kept = {run: (folder / RECORD).stat().st_mtime_ns for run, folder in folders.items() if run not in (missing, older)}
    assert train(case, ingested(case)) == 2
    assert {run: (folders[run] / RECORD).stat().st_mtime_ns for run in kept} == kept
    again = left_by(folders)
    for run, (history, weights) in first.items():
        assert again[run][0].equals(history)
        assert all(torch.equal(again[run][1][name], weight) for name, weight in weights.items())


def test_runs_on_other_blocks_are_not_done(case_of):
    case = case_of("training.steps=2")
    train_here(case)

    def done_on(blocks):
        made = ingested(case)
        other = made.manifests["trait_pictures"].model_copy(update={"content_hash": blocks})
        changed = replace(made, manifests={**made.manifests, "trait_pictures": other})
        return [is_done(run, experiment_folder(case), changed) for run in list_runs(case)]

    assert all(done_on(ingested(case).manifests["trait_pictures"].content_hash))
    assert not any(done_on("0" * 12)), "other labels or pictures under the same settings are other data"


def test_single_task_networks_see_whole_batches_of_their_own_datasets_or_the_joint_networks_rows(case_of):
    case = case_of()
    sizes = {"digit_pictures": 50, "trait_pictures": 947}
    joint = batch_sampler(case, sizes, 3, ["digit", "traits"])
    for task, name in (("digit", "digit_pictures"), ("traits", "trait_pictures")):
        whole = batch_sampler(case, sizes, 3, [task], "own")
        assert whole.per_step == {name: case.training.batch_size}
        alone = batch_sampler(case, sizes, 3, [task], "shared")
        for step in range(5):
            assert list(alone.rows(step)) == [name]
            assert alone.rows(step)[name].tolist() == joint.rows(step)[name].tolist()


def test_arms_of_one_seed_start_from_the_same_backbone(case_of):
    case = case_of()
    joint, alone = build_network(case, ["digit", "traits"], 3), build_network(case, ["traits"], 3)
    other = build_network(case, ["traits"], 4)
    for name, weight in joint.backbone.state_dict().items():
        assert torch.equal(alone.backbone.state_dict()[name], weight)
        assert not torch.equal(other.backbone.state_dict()[name], weight)


def test_more_workers_than_the_machine_has_room_for_is_told_at_once(case_of):
    case = case_of("training.threads_per_worker=64")
    with pytest.raises(
        UserError, match=r"training.threads_per_worker: found 1 x 64; expected at most 2, the processors"
    ):
        train(case, ingested(case))
    case = case_of("training.device=cuda")
    with pytest.raises(UserError, match=r"training.device: found 'cuda' for 1 workers; expected at most 0, the GPUs"):
        train(case, ingested(case))


def test_a_damaged_block_is_named_before_anything_trains_on_it(case_of):
    case = case_of()
    manifest = ingested(case).manifests["trait_pictures"]
    file = Path(ingested(case).folders["trait_pictures"]) / manifest.blocks[0].file
    right = file.read_bytes()
    file.write_bytes(right[:1000] + bytes([right[1000] ^ 1]) + right[1001:])
    try:
        with pytest.raises(DamagedBlockError) as caught:
            open_readers(case, ingested(case), "train")
    finally:
        file.write_bytes(right)
    assert f"{file}: its bytes are not those that the ingest wrote" in str(caught.value)
    assert "`kindred ingest` makes the block again" in str(caught.value)
    assert len(open_readers(case, ingested(case), "train")["trait_pictures"]) == manifest.rows_used
