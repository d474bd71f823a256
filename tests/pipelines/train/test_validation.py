"""Validation while a run trains: the right numbers on fixed rows, and nothing of the training changed by it."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from mtlcore import primary_metric, task_metrics
from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.batches.normalize import normalize
from pipelines.case.build import build_network, tasks_of
from pipelines.case.load import load_case
from pipelines.experiment.run import HISTORY, VALIDATIONS, WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingested
from pipelines.report.results_table import results_table
from pipelines.train.logs.validation_history import ValidationHistory, best_of, scored_columns, without_gain
from pipelines.train.validation import validation_rows
from tests.pipelines.one_worker import train_here

SHORT = ["training.steps=25", "training.seeds=[3]", "training.batch_size=8", "evaluation.replicates=20"]
EVERY = ["training.validation={every_steps: 10, rows: 60}"]


@pytest.fixture
def case_of(digits_case):
    return partial(digits_case, *SHORT)


def weights_of(folder):
    return safetensors.torch.load_file(folder / WEIGHTS)


def same(ours, others):
    return list(ours) == list(others) and all(torch.equal(ours[name], others[name]) for name in ours)


def test_validation_changes_no_bit_of_the_training_and_scores_the_weights_that_it_saw(case_of):
    # Dropout: a pass in training mode, or one that drew from the steps' random numbers, would show.
    network = "network={backbone: tests.dropping_backbone:dropping}"
    without, looked = train_here(case_of(network)), train_here(case_of(network, *EVERY))
    case = case_of(network, *EVERY)
    for run, folder in looked.items():
        assert same(weights_of(folder), weights_of(without[run]))
        assert (folder / HISTORY).read_bytes() == (without[run] / HISTORY).read_bytes()
        assert not (without[run] / VALIDATIONS).exists()
        found = pq.read_table(folder / VALIDATIONS).to_pandas()
        assert found["step"].tolist() == [10, 20, 25]
        assert set(found.columns) == {"step", *expected(case, run, weights_of(folder))}
        for column, value in expected(case, run, weights_of(folder)).items():
            assert found[column].iloc[-1] == pytest.approx(value, abs=1e-6), column


def expected(case, run, weights):
    """Score the weights on the first 60 of the fixed rows, by hand."""
    (reader,) = open_readers(case, ingested(case), "validation").values()
    rows = validation_rows({"validation_pictures": len(reader)}, 60)["validation_pictures"]
    network = build_network(case, list(run.tasks), 0).eval()
    network.load_state_dict(weights)
    batch = reader.gather(rows)
    with torch.no_grad():
        logits = network(normalize(torch.from_numpy(batch.inputs), case.input))
    return {
        f"{name}.{metric}": value
        for name in run.tasks
        for metric, value in task_metrics(
            logits[name], torch.from_numpy(batch.labels[name]), tasks_of(case)[name]
        ).items()
    }


@pytest.mark.parametrize(
    ("settings", "network"),
    [
        ((), "network.backbone=mlp"),
        (("training.shard=true",), "network.backbone=mlp"),
        (("training.shard=true",), "network={backbone: flatten}"),  # nothing that is gathered layer by layer
    ],
    ids=["whole", "sharded", "sharded heads"],
)
def test_two_workers_validate_as_one_does_and_stop_at_the_same_step(case_of, two_workers, settings, network, tmp_path):
    case_of = partial(case_of, f"storage.path={tmp_path}", network)
    one_arm = ["arms={naive: {}}", "evaluation.baseline=naive", "training.validation={every_steps: 5, rows: 61}"]
    stop = ["training.best=digit", "training.early_stopping={patience: 1, min_delta: 0.5}"]
    (one,) = train_here(case_of(*one_arm, *stop)).values()
    first, weights = pq.read_table(one / VALIDATIONS).to_pandas(), weights_of(one)
    first_run = (one / "run.json").read_bytes()
    (two,) = two_workers.train(case_of(*one_arm, *stop, *settings, "training.workers=2")).values()
    assert (two / "run.json").read_bytes() != first_run
    assert one == two, "who trains is no setting of the experiment"
    second = pq.read_table(two / VALIDATIONS).to_pandas()
    assert second["step"].tolist() == first["step"].tolist() == [5, 10]
    np.testing.assert_allclose(second, first, atol=0.02)
    assert read_record(str(two))["steps"] == 10
    for name, weight in weights_of(two).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-3, atol=1e-4)


def test_sharded_workers_validate_with_the_first_ones_running_statistics(case_of, two_workers, tmp_path):
    network = ["network={backbone: tests.dropping_backbone:dropping}", "training.batch_size=24"]
    one_arm = ["arms={naive: {}}", "evaluation.baseline=naive"]
    two = ["training.shard=true", "training.workers=2"]
    case = case_of(f"storage.path={tmp_path}", *network, *one_arm, *two, *EVERY)
    for run, folder in two_workers.train(case).items():
        found = pq.read_table(folder / VALIDATIONS).to_pandas()
        for column, value in expected(case, run, weights_of(folder)).items():
            assert found[column].iloc[-1] == pytest.approx(value, abs=1e-6), column


def test_the_weights_of_the_best_validation_are_the_runs_and_early_stopping_leaves_steps_out(case_of):
    # A rate that rises over the whole run and is far too high at its end: the best is in the middle.
    wild = [
        "training.schedule={kind: constant, warmup_steps: 24}",
        "training.optimizer={name: adamw, lr: 1.0}",
        "arms={naive: {matching: none}}",
        "evaluation.baseline=naive",
        "training.validation={every_steps: 1, rows: 40}",
    ]
    last = train_here(case_of(*wild))
    best = train_here(case_of(*wild, "training.best=mean"))
    stopped = train_here(case_of(*wild, "training.best=mean", "training.early_stopping={patience: 4}"))
    case = case_of(*wild, "training.best=mean")
    early = 0
    for run, folder in best.items():
        found = pq.read_table(folder / VALIDATIONS).to_pandas()
        primary = [f"{name}.{primary_metric(tasks_of(case)[name])}" for name in run.tasks]
        scores = found[primary].mean(axis=1)
        record = read_record(str(folder))
        assert record["steps"] == 25
        assert record["best"]["step"] == found["step"][scores.idxmax()] < 25
        assert record["best"]["score"] == pytest.approx(scores.max())
        assert not same(weights_of(folder), weights_of(last[run])), "the best are not the last"

        ended = read_record(str(stopped[run]))["steps"]
        improved = [step for step in range(1, 26) if scores[step - 1] > max(scores[: step - 1], default=-1)]
        expected_end = next((step for step in range(1, 25) if step - max(s for s in improved if s <= step) == 4), 25)
        assert ended == expected_end == len(pq.read_table(stopped[run] / HISTORY))
        early += ended < 25
        if ended < 25:
            assert "stopped early" in read_record(str(stopped[run]))["events"][-1]["what"]
        if record["best"]["step"] <= ended:
            assert same(weights_of(stopped[run]), weights_of(folder))
    assert early

    outcome = steps.evaluate(case_of(*wild, "training.best=mean", "training.early_stopping={patience: 4}"))
    told = {timing.run: (timing.steps, timing.best_step) for timing in outcome.results.timings}
    assert told == {
        str(run): (read_record(str(folder))["steps"], read_record(str(folder))["best"]["step"])
        for run, folder in stopped.items()
    }
    assert "stopped early" in json.dumps([event.what for t in outcome.results.timings for event in t.events])
    assert f"1 of 1 runs stopped early, after {min(s for s, _ in told.values())} updates" in results_table(
        outcome.results
    )
    (file,) = steps.report(case_of(*wild, "training.best=mean", "training.early_stopping={patience: 4}"))
    page = Path(file).read_text()
    assert 'aria-label="Validation by step"' in page
    assert 'aria-label="Learning rate by step"' in page
    assert "at most 25 updates each" in page
    for run, folder in stopped.items():
        assert f'<td>{run}</td><td data-of="updates">{read_record(str(folder))["steps"]} of 25</td>' in page


def test_small_validation_sets_are_used_whole_and_the_rest_is_shared_out():
    rows = validation_rows({"large": 10_000, "tiny": 3, "middle": 500}, 403)
    assert {name: len(of) for name, of in rows.items()} == {"large": 200, "tiny": 3, "middle": 200}
    assert list(rows) == ["large", "tiny", "middle"]
    for name, size in (("large", 10_000), ("tiny", 3), ("middle", 500)):
        assert (np.diff(rows[name]) > 0).all()
        assert rows[name].max() < size
    again = validation_rows({"middle": 500, "large": 10_000, "tiny": 3}, 403)
    assert all(np.array_equal(rows[name], again[name]) for name in rows)
    assert {name: len(of) for name, of in validation_rows({"a": 5, "b": 7}, 100).items()} == {"a": 5, "b": 7}


def test_the_score_is_what_the_case_names(case_of):
    case = case_of(*EVERY, "tasks.digit.auxiliary=true", "evaluation.main_task=traits")
    joint, digit, traits = (next(r for r in list_runs(case) if r.network == n) for n in ("shared", "digit", "traits"))
    assert scored_columns(case, joint) == ("traits.macro_f1",), "an auxiliary task is trained for others' sake"
    assert scored_columns(case, digit) == ("digit.accuracy",), "and its own network's only one"
    case = case_of(*EVERY, "training.best=digit.calibration_error")
    assert scored_columns(case, joint) == scored_columns(case, digit) == ("digit.calibration_error",)
    assert scored_columns(case, traits) == ("traits.macro_f1",), "a network without the named task"
    history = ValidationHistory()
    history.add(1, {"digit.accuracy": 0.5, "digit.calibration_error": 0.3, "traits.macro_f1": math.nan})
    history.add(2, {"digit.accuracy": 0.4, "digit.calibration_error": 0.1, "traits.macro_f1": 1.0})
    assert history.scores(["digit.accuracy", "traits.macro_f1"]) == pytest.approx([0.5, 0.7])
    assert history.scores(["digit.calibration_error"]) == pytest.approx([-0.3, -0.1]), "lower is better"
    assert math.isnan(history.scores(["traits.macro_f1"])[0])
    again = ValidationHistory.from_tensor(history.columns, history.tensor())
    assert (again.steps, again.columns) == (history.steps, history.columns)
    np.testing.assert_array_equal(again.rows, history.rows)


@pytest.mark.parametrize(
    ("scores", "min_delta", "waited"),
    [
        ([], 0, 0),
        ([0.5], 0, 0),
        ([0.5, 0.5], 0, 1),
        ([0.5, 0.4, 0.6], 0, 0),
        ([0.5, 0.55, 0.59], 0.1, 2),
        ([0.5, 0.55, 0.61], 0.1, 0),
        ([math.nan, math.nan], 0, 2),
    ],
)
def test_gains_below_min_delta_do_not_count(scores, min_delta, waited):
    assert without_gain(scores, min_delta) == waited


def test_the_first_of_equal_scores_is_the_best_and_undefined_ones_are_never():
    assert best_of([0.1, 0.4, math.nan, 0.4]) == 1
    assert best_of([math.nan]) is None
    assert best_of([]) is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["training.best=digit"], "training.best: found, and no training.validation.every_steps"),
        (["training.early_stopping={patience: 2}"], "training.early_stopping: found, and no training.validation"),
        ([*EVERY, "training.best=digits"], "found 'digits', no such task; did you mean 'digit'?"),
        ([*EVERY, "training.best=digit.macro_f2"], "found 'macro_f2', no such metric; did you mean 'macro_f1'?"),
        ([*EVERY, "training.early_stopping={min_delta: 0.1}"], "training.early_stopping.patience: missing"),
        (
            [*EVERY, "datasets.validation_pictures.split=train", "training.mixing=null"],
            "training.validation.every_steps: found, and no dataset of split 'validation'",
        ),
    ],
)
def test_a_mistake_is_told_by_its_key(overrides, words):
    with pytest.raises(UserError) as caught:
        load_case("digits", overrides)
    assert words in str(caught.value)
