"""Metrics are those of scikit-learn, an independent implementation; the bootstrap has the properties it claims."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from mtlcore import Multiclass, Multilabel, paired_difference, primary_metric, task_metrics
from mtlcore.metrics.kinds import summed_metric
from mtlcore.metrics.summed import SUMMED_METRICS

CLASSES = Multiclass("c", tuple("abcd"))
LABELS = Multilabel("l", tuple("xyz"))


def drawn(seed, shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_multiclass_metrics_are_scikit_learns_over_annotated_inputs():
    z = drawn(0, (80, 4))
    y = torch.randint(-1, 4, (80,), generator=torch.Generator().manual_seed(1))
    found, known = task_metrics(z, y, CLASSES), y >= 0
    predicted = z.argmax(1)[known]
    assert found["accuracy"] == pytest.approx(accuracy_score(y[known], predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(y[known], predicted, average="macro"))


def test_multilabel_metrics_are_scikit_learns_over_annotated_entries():
    z = drawn(2, (90, 3))
    y = torch.randint(-1, 2, (90, 3), generator=torch.Generator().manual_seed(3))
    f1 = [f1_score(y[:, k][y[:, k] >= 0], z[:, k][y[:, k] >= 0] > 0) for k in range(3)]
    ap = [average_precision_score(y[:, k][y[:, k] >= 0], z[:, k][y[:, k] >= 0]) for k in range(3)]
    found = task_metrics(z, y, LABELS)
    assert found["macro_f1"] == pytest.approx(np.mean(f1), rel=1e-5)
    assert found["macro_average_precision"] == pytest.approx(np.mean(ap), rel=1e-5)


@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_the_bootstrapped_score_is_the_reported_metric(task):
    z = drawn(4, (60, len(task.outputs)))
    shape = (60,) if task is CLASSES else (60, 3)
    y = torch.randint(
        -1, len(task.outputs) if task is CLASSES else 2, shape, generator=torch.Generator().manual_seed(5)
    )
    metric = summed_metric(task, None)
    score = metric.score(metric.sums(metric.contributions(z, y, task), task), task)
    assert float(score) == pytest.approx(task_metrics(z, y, task)[primary_metric(task)], rel=1e-5)


def test_a_label_that_never_occurs_counts_the_same_in_the_score_and_in_its_difference():
    y = torch.tensor([[1, 0], [0, 0], [1, 0]])
    none, false_alarm = torch.tensor([[1.0, -1.0]] * 3), torch.tensor([[1.0, -1.0], [1.0, 1.0], [1.0, -1.0]])
    two = Multilabel("l", ("x", "never"))
    scores = [task_metrics(z, y, two)["macro_f1"] for z in (none, false_alarm)]
    found = paired_difference([none], [false_alarm], y, two)
    assert found.value == pytest.approx(scores[0] - scores[1])


def test_the_same_arm_twice_differs_by_exactly_nothing():
    z, y = drawn(6, (50, 4)), torch.randint(0, 4, (50,), generator=torch.Generator().manual_seed(7))
    found = paired_difference([z, z], [z, z], y, CLASSES)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    """Two arms that are right with probability 0.7 and 0.6 on their own: 95 % intervals over 100 test sets."""
    covered = 0
    draw = np.random.Generator(np.random.PCG64(0))
    labels = torch.zeros(200, dtype=torch.long)
    two = Multiclass("t", ("a", "b"))
    for repeat in range(100):
        arm, base = (
            torch.from_numpy(np.stack([draw.random(200) < p, np.full(200, 0.5)], axis=1).astype(float))
            for p in (0.7, 0.6)
        )
        found = paired_difference([arm], [base], labels, two, replicates=300, seed=repeat)
        covered += found.low <= 0.1 <= found.high
    assert 88 <= covered <= 100


def test_inputs_are_shared_by_seeds_so_that_more_seeds_do_not_hide_a_small_test_set():
    """Arm and baseline differ on the same 5 of 10 inputs in every seed: the interval stays as wide as 10 inputs are."""
    y = torch.zeros(10, dtype=torch.long)
    right = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
    half = right.clone()
    half[:5] = half[:5].flip(1)
    two = Multiclass("t", ("a", "b"))
    one, many = paired_difference([right], [half], y, two), paired_difference([right] * 20, [half] * 20, y, two)
    assert many.high - many.low == pytest.approx(one.high - one.low, abs=0.11)


def test_an_unequal_number_of_seeds_is_refused():
    with pytest.raises(ValueError, match="1 seeds against 2"):
        paired_difference([drawn(0, (3, 4))], [drawn(0, (3, 4))] * 2, torch.zeros(3, dtype=torch.long), CLASSES)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "macro_f1"])
def test_a_metric_of_classes_is_the_reported_one_and_a_weight_counts_an_input_so_often(name):
    metric = SUMMED_METRICS[name]()
    z, y = drawn(8, (60, 4)), torch.randint(-1, 4, (60,), generator=torch.Generator().manual_seed(9))
    assert metric(z, y, CLASSES) == pytest.approx(task_metrics(z, y, CLASSES)[name], rel=1e-6)
    often = np.random.default_rng(0).integers(0, 4, (5, 60))
    beside = np.concatenate([metric.contributions(of, y, CLASSES) for of in (z, -z)], axis=1)
    sums = metric.sums(beside, CLASSES, often.astype(float))
    for weighed, times in zip(sums, often, strict=True):
        rows = np.repeat(np.arange(60), times)
        for of_one, of in zip(np.split(weighed, 2), (z, -z), strict=True):
            assert float(metric.score(of_one, CLASSES)) == pytest.approx(metric(of[rows], y[rows], CLASSES))
