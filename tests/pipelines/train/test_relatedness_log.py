"""What a run saw of its tasks' relatedness is the same on two workers, and its weights as if it had not looked."""

import numpy as np
import pytest
import safetensors.torch
import torch

from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.evaluate.results import PairSeen
from pipelines.experiment.run import WEIGHTS, Run
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.figures import agreement_figure, sharing_figure
from pipelines.train.logs.relatedness_log import measured_steps, read_measured
from tests.pipelines.one_worker import train_here

SMALL = [
    "training.steps=9",
    "training.seeds=[3, 4]",
    "training.batch_size=256",  # enough for a baseline above chance, without which there is no mean gain
    "training.mixing={digit_pictures: 1, trait_pictures: 1}",
    "training.optimizer.lr=0.01",
    "network.widths=[256]",
    "arms={naive: {matching: none}, co-trained: {}}",
    "evaluation.baseline=naive",
    "evaluation.replicates=20",
]


@pytest.fixture
def trained(ray_local, digits_store):
    def train_with(*overrides, by=train_here):
        case = load_case("digits", [f"storage.path={digits_store}", *SMALL, *overrides])
        ingest(case)
        folders = {str(run): folder for run, folder in by(case).items()}
        weights = {run: safetensors.torch.load_file(folder / WEIGHTS) for run, folder in folders.items()}
        return case, weights, {run: read_measured(str(folder)) for run, folder in folders.items()}

    return train_with


def test_what_is_seen_is_in_the_results_and_changes_no_bit_and_is_the_same_on_two_workers(trained, two_workers):
    case, weights, seen = trained("logging.relatedness_every=4")
    results = evaluate(case, ingested(case))
    assert list(results.visible_relatedness) == ["naive", "co-trained"]
    for arm, (pair,) in results.visible_relatedness.items():
        assert (pair.a, pair.b, pair.steps) == ("digit", "traits", [0, 8])
        of_runs = [[m.gradient_agreement for m in seen[f"{arm}/seed-{seed}"]] for seed in (3, 4)]
        assert pair.gradient_agreement == of_runs
        assert pair.mean("gradient_agreement") == pytest.approx(np.mean(of_runs, axis=0))
        assert all(0 < share < 1 for of_seed in pair.head_sharing for share in of_seed)
    gain = results.delta_m_difference["co-trained"]
    assert gain.low <= gain.value <= gain.high
    assert gain.value == pytest.approx(results.delta_m["co-trained"], abs=1e-6)
    assert results.delta_m_difference["naive"] is None

    _, unmeasured, nothing = trained("logging.relatedness_every=0")
    assert not any(nothing.values())
    for run, of_run in weights.items():
        assert all(torch.equal(unmeasured[run][name], value) for name, value in of_run.items()), run

    _, _, on_two = trained("logging.relatedness_every=4", by=two_workers.train)
    for run, measured in seen.items():
        assert [m[:3] for m in on_two[run]] == [m[:3] for m in measured]
        for one, two in zip(measured, on_two[run], strict=True):
            assert two[3:] == pytest.approx(one[3:], abs=2e-3), run


def steps_of(steps, every, tasks=("digit", "traits")):
    case = load_case("digits", [f"training.steps={steps}", f"logging.relatedness_every={every}"])
    return sorted(measured_steps(case, Run("naive", "shared", tasks, 0)))


def test_steps_are_measured_at_the_rate_asked_for_from_the_first_to_the_last():
    assert steps_of(100, 0) == []
    assert steps_of(100, 10, tasks=("digit",)) == []
    assert steps_of(101, 50) == [0, 100]
    assert steps_of(91, 10) == [0, 11, 22, 34, 45, 56, 68, 79, 90]
    assert steps_of(1, 1) == [0]
    assert steps_of(4, 1) == [0, 1, 2, 3]
    by_default = steps_of(10_000, "null")
    assert len(by_default) == 50, "one in 100 a task"
    assert (by_default[0], by_default[-1]) == (0, 9_999)


def test_figures_hold_any_number_of_tasks_and_what_is_not_defined():
    for tasks in (["a", "$b"], ["a", "<b>", "c"], [f"t{i}" for i in range(14)]):
        pairs = [
            PairSeen(a=a, b=b, steps=[0, 9], head_sharing=[[None, None]], gradient_agreement=[[0.1, None]])
            for i, a in enumerate(tasks)
            for b in tasks[i + 1 :]
        ]
        for svg in (agreement_figure({"naive": pairs}, ["single", "naive"]), sharing_figure({"naive": pairs}, tasks)):
            assert svg.startswith("<svg")
            assert "<b>" not in svg
