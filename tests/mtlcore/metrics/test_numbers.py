"""Metrics of numbers and ranks against their definitions, as sums, with intervals on the right side."""

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, mean_absolute_error, mean_squared_error, r2_score

from mtlcore import (
    Interval,
    Ordinal,
    Regression,
    bootstrapped_delta_m,
    is_at_chance,
    metric_names,
    negative_transfer_verdict,
    paired_difference,
    task_metrics,
)

AGE = Regression("age", ("age", "year"), mean=(40.0, 2000.0), spread=(10.0, 2.0))
PAIN = Ordinal("pain", ("none", "mild", "strong", "worst"))


def numbers(seed, n=200, noise=0.5):
    draw = np.random.Generator(np.random.PCG64(seed))
    truth = draw.normal(size=(n, 2)) * 0.9 + 0.2
    predicted = truth + noise * draw.normal(size=(n, 2)) + 0.1
    labels = truth * AGE.spread + AGE.mean
    labels[draw.random((n, 2)) < 0.3] = np.nan
    return torch.from_numpy(predicted).float(), torch.from_numpy(labels).float()


def concordance(y, p):
    return 2 * np.cov(y, p, bias=True)[0, 1] / (y.var() + p.var() + (y.mean() - p.mean()) ** 2)


def test_metrics_of_numbers_are_those_of_their_definitions():
    z, y = numbers(0)
    found, expected = task_metrics(z, y, AGE), dict.fromkeys(metric_names(AGE), 0.0)
    for k in range(2):
        known = ~y[:, k].isnan()
        true = y[known, k].double().numpy()
        p = z[known, k].double().numpy() * AGE.spread[k] + AGE.mean[k]
        expected["rmse"] += mean_squared_error(true, p) ** 0.5 / 2
        expected["mae"] += mean_absolute_error(true, p) / 2
        expected["r2"] += r2_score(true, p) / 2
        expected["ccc"] += concordance(true, p) / 2
    assert found == pytest.approx(expected, rel=1e-6)


def ranks(seed, n=300, noise=1.0):
    draw = np.random.Generator(np.random.PCG64(seed))
    score = draw.normal(size=n)
    y = np.digitize(score + 0.3 * draw.normal(size=n), [-1, 0, 1])
    y[draw.random(n) < 0.2] = -1
    z = (score + noise * draw.normal(size=n))[:, None] - np.array([-1.0, 0.0, 1.0])
    return torch.from_numpy(z), torch.from_numpy(y)


def test_quadratic_kappa_of_moments_is_that_of_the_confusion():
    z, y = ranks(0)
    known, p = y.numpy() >= 0, (z > 0).sum(dim=1).numpy()
    found = task_metrics(z, y, PAIN)
    assert found["quadratic_kappa"] == pytest.approx(
        cohen_kappa_score(y.numpy()[known], p[known], weights="quadratic", labels=range(4))
    )
    assert found["mae"] == pytest.approx(np.abs(y.numpy() - p)[known].mean())
    assert found["accuracy"] == pytest.approx((y.numpy() == p)[known].mean())


def test_what_is_not_annotated_is_not_defined_and_takes_no_part():
    z, y = numbers(0)
    assert all(np.isnan(v) for v in task_metrics(z, torch.full_like(y, torch.nan), AGE).values())
    one = y.clone()
    one[:, 1] = torch.nan
    alone = Regression("age", ("age",), mean=AGE.mean[:1], spread=AGE.spread[:1])
    assert task_metrics(z, one, AGE) == pytest.approx(task_metrics(z[:, :1], y[:, :1], alone))
    same = torch.full_like(y, 40.0)
    assert np.isnan(task_metrics(z, same, AGE)["r2"])


def test_a_smaller_error_is_better_and_the_interval_says_so():
    (good, y), (bad, _) = numbers(0, noise=0.2), numbers(0, noise=1.0)
    found = paired_difference([good, good], [bad, bad], y, AGE, replicates=200)
    assert found.high < 0
    assert negative_transfer_verdict(found, lower_is_better=True) == "better"
    assert negative_transfer_verdict(Interval(0.2, 0.1, 0.3), lower_is_better=True) == "worse"
    means = [np.mean([task_metrics(z, y, AGE)["rmse"]]) for z in (good, bad)]
    assert found.value == pytest.approx(means[0] - means[1], rel=1e-5)


def test_delta_m_counts_a_smaller_error_as_a_gain():
    (good, y), (bad, _) = numbers(0, noise=0.2), numbers(0, noise=1.0)
    inputs = {"age": torch.arange(len(y))}
    gain = bootstrapped_delta_m({"age": [good]}, {"age": [bad]}, {"age": y}, inputs, [AGE], replicates=100)
    a, b = (task_metrics(z, y, AGE)["rmse"] for z in (good, bad))
    assert gain.value == pytest.approx((b - a) / b, rel=1e-5)
    assert gain.low > 0


@pytest.mark.parametrize(("task", "make"), [(AGE, numbers), (PAIN, ranks)])
def test_chance_is_what_the_mean_or_the_median_gets(task, make):
    z, y = make(0)
    shuffled = z[torch.randperm(len(z), generator=torch.Generator().manual_seed(0))]
    assert not is_at_chance([z, z], y, task, replicates=200)
    assert is_at_chance([shuffled, shuffled], y, task, replicates=200)
