"""Calibration makes what is stated what is right, and thresholds are the best there are."""

import itertools

import pytest
import torch

from mtlcore import Multiclass, Multilabel, fit_temperature, fit_thresholds, task_metrics

CLASSES, LABELS = Multiclass("kind", ("a", "b", "c")), Multilabel("traits", ("x", "y"))


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("task", [CLASSES, LABELS])
def test_the_temperature_undoes_what_made_logits_too_sharp_or_too_flat(task, sharpness):
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(8000, len(task.outputs), generator=generator)
    if task is CLASSES:
        labels = torch.multinomial(z.softmax(dim=1), 1, generator=generator)[:, 0]
    else:
        labels = torch.bernoulli(z.sigmoid(), generator=generator).long()
    labels[:100] = -1
    stated = sharpness * z
    temperature = fit_temperature(stated, labels, task)
    assert temperature == pytest.approx(sharpness, rel=0.06)
    assert task_metrics(stated / temperature, labels, task)["calibration_error"] < 0.03


def test_without_labels_nothing_is_changed_and_a_few_right_ones_do_not_make_it_sure():
    z = torch.tensor([[3.0, 0.0, 0.0]] * 5)
    assert fit_temperature(z, torch.full((5,), -1), CLASSES) == 1
    assert fit_temperature(z, torch.zeros(5, dtype=torch.int64), CLASSES) > 0.2


def test_no_other_threshold_has_a_higher_f1():
    generator = torch.Generator().manual_seed(1)
    p = torch.rand(60, 4, generator=generator).mul(20).round().div(20)
    labels = (torch.rand(60, 4, generator=generator) < p).long()
    labels[::7, 1] = -1
    labels[:, 3] = 0

    def f1(column, threshold):
        known = labels[:, column] != -1
        said, holds = p[known, column] >= threshold, labels[known, column] == 1
        return 2 * float((said & holds).sum()) / max(1, int(said.sum() + holds.sum()))

    found = fit_thresholds(p, labels)
    for column, tried in itertools.product(range(3), torch.linspace(0, 1, 101).tolist()):
        assert f1(column, found[column]) >= f1(column, tried)
    assert found[3] == 0.5
