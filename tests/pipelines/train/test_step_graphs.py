"""Recorded steps: what a GPU replays reads the same buffers every time, and comes to what each step alone does.

No GPU is asked for: a recorder that runs a step anew at each replay stands for CUDA's, with its rules. What is recorded
is done only when it is replayed, it reads the tensors that it was recorded with, and it writes the same results.
"""

import pytest
import safetensors.torch
import torch

from mtlcore import MixedLabels
from pipelines.base.errors import UserError
from pipelines.batches.batch import MixedBatch
from pipelines.case.load import load_case
from pipelines.optimization.optimizer import build_optimizer, set_learning_rate
from pipelines.train import step_graphs
from pipelines.train.step import Step
from pipelines.train.step_graphs import StepGraphs
from tests.pipelines.train.test_train_settings import assert_same, data_sets, fit  # noqa: F401


class Recorder:
    """Records as CUDA does, but for the speed; counts what it is asked for."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, compute):
        self.recorded += 1
        results = []

        def replay():
            self.replayed += 1
            for kept, value in zip(results, list(compute()), strict=True) if results else ():
                kept.copy_(value)
            if not results:
                results.extend(value.clone() for value in compute())

        return replay, results


def batch_of(value, own=None):
    labels = {"a": torch.full((4,), value)}
    mixed = None if own is None else MixedLabels({"a": torch.full((4,), -value)}, own)
    x = torch.full((4, 3, 2, 2), float(value)).contiguous(memory_format=torch.channels_last)
    return MixedBatch(x, labels, mixed)


def test_each_kind_is_recorded_once_after_warming_up_and_reads_the_same_buffers():
    seen, recorder = [], Recorder()

    def compute(batch, kind):
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        seen.append((id(batch), kind))
        own = batch.mixed.own
        return [batch.x.sum() + batch.labels["a"].sum() + batch.mixed.labels["a"].sum() * own, own.clone()]

    graphs = StepGraphs(compute, recorder)
    kinds = [False, True, False, False, True, False, True]
    for step, kind in enumerate(kinds):
        total, own = graphs.take(batch_of(step, own=0.5 + step / 100), kind)
        assert own.item() == pytest.approx(0.5 + step / 100)
        assert total.item() == pytest.approx(48 * step + 4 * step - 4 * step * (0.5 + step / 100))
    assert len({batch for batch, _ in seen}) == 1
    assert recorder.recorded == 2
    assert recorder.replayed == len(kinds) - step_graphs._WARM_UP


REPLAYED = {
    "pieces": ["training.accumulate=3", "training.clip_norm=0.5", "logging.relatedness_every=0"],
    "mixup": ["training.augmentation={flip: 0.5, mixup: 0.4}", "logging.relatedness_every=0"],
    "warm-up": ["training.matching.warmup_steps=7", "logging.relatedness_every=0"],
    "measured": ["training.precision=bfloat16", "logging.relatedness_every=5"],
}


@pytest.fixture
def recorder(monkeypatch):
    """A recorder that all steps are replayed by once `recorder.starts` was called."""
    recorder, made = Recorder(), Step.__init__

    def replaying(step, *arguments):
        made(step, *arguments)
        step.replay(recorder)

    recorder.starts_in = lambda patch: patch.setattr(Step, "__init__", replaying)
    recorder.starts = lambda: recorder.starts_in(monkeypatch)
    return recorder


@pytest.mark.parametrize("settings", REPLAYED.values(), ids=REPLAYED)
def test_replayed_steps_end_with_the_same_bits(fit, settings, recorder):  # noqa: F811
    plain = fit(*settings)
    recorder.starts()
    # A share of a blend is a number of float32 in a buffer.
    close = {"rtol": 1e-5, "atol": 1e-6} if "mixup" in str(settings) else {"rtol": 0, "atol": 0}
    assert_same(plain, fit(*settings, store="replayed"), **close)
    assert recorder.recorded == 2, "one for steps that compute trust anew, one for the others"
    after_warm_up = 12 - step_graphs._WARM_UP
    if "relatedness_every=0" in settings[-1]:
        assert recorder.replayed == after_warm_up
    else:
        assert 0 < recorder.replayed < after_warm_up, "a measured step is not replayed"


def test_what_is_recorded_trains_a_backbone_that_was_frozen_before(fit, recorder, tmp_path):  # noqa: F811
    _, weights, _ = fit(store="before")
    safetensors.torch.save_file(weights, tmp_path / "start.safetensors")
    frozen = {"backbone": "small_cnn", "widths": [8, 16], "freeze_steps": 5}
    settings = [
        f"network={frozen | {'pretrained': str(tmp_path / 'start.safetensors')}}",
        "logging.relatedness_every=0",
    ]
    plain = fit(*settings)
    recorder.starts()
    assert_same(plain, fit(*settings, store="replayed"), rtol=0, atol=0)
    assert recorder.recorded == 2
    assert recorder.replayed == 12 - 5 - step_graphs._WARM_UP


def test_a_learning_rate_in_a_tensor_is_changed_where_it_lies():
    settings = load_case("digits").training.optimizer
    network = torch.nn.Linear(2, 1)
    plain, optimizer = build_optimizer(settings, network), build_optimizer(settings, network)
    rate = optimizer.param_groups[0]["lr"] = torch.tensor(1.0)
    for each in (plain, optimizer):
        set_learning_rate(each, 0.25)
    assert plain.param_groups[0]["lr"] == 0.25
    assert rate.item() == 0.25


ON_GPU = ["training.device=cuda", "training.compile=step"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("training.workers=2", r"found 'step' for up to 2 workers; .* expected true, or one worker"),
        ("training.balancing.method=uncertainty", r"found 'step' with balancing 'uncertainty'"),
        ("training.balancing.method=upgrad", r"found 'step' with balancing 'upgrad'"),
        ("training.optimizer.name=torch.optim:NAdam", r"found 'step' with optimizer 'torch.optim:NAdam'"),
        ("training.shard=true", r"found 'step', and training.shard too"),
    ],
)
def test_what_a_gpu_could_not_replay_is_refused(setting, told):
    with pytest.raises(UserError, match=told):
        load_case("digits", [*ON_GPU, setting])


def test_a_step_that_is_to_be_replayed_is_accepted_and_is_no_other_experiment():
    from pipelines.experiment.layout import experiment_folder

    assert load_case("digits", ON_GPU).training.compile == "step"
    on_cpu = load_case("digits", ["training.compile=step", "training.workers=2"])
    assert experiment_folder(on_cpu) == experiment_folder(load_case("digits"))
