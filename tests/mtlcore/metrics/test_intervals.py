"""Intervals hold as often as they say with few seeds too; what is at chance is known as such."""

import numpy as np
import pytest
import torch
from scipy import stats

from mtlcore import Multiclass, Multilabel, bootstrapped_delta_m, is_at_chance, paired_difference
from mtlcore.metrics.student_t import combined_half_width, t_quantile
from mtlcore.metrics.summed import BalancedAccuracy, MacroF1

TWO = Multiclass("t", ("a", "b"))


@pytest.mark.parametrize("degrees", [1, 1.7, 2, 3.3, 10, 60, 199, 201, 1e5])
@pytest.mark.parametrize("probability", [0.55, 0.9, 0.975, 0.995])
def test_quantiles_are_students(probability, degrees):
    assert t_quantile(probability, degrees) == pytest.approx(stats.t.ppf(probability, degrees), rel=1e-5)


def of_seeds(draw, seeds, inputs, deviation, hard):
    """Return an arm's logits: right with probability 0.8, which seeds change, on inputs of which some are hard."""
    found = []
    for _ in range(seeds):
        bound = stats.norm.ppf(0.8 + deviation * draw.standard_normal())
        right = 0.7 * hard + 0.51**0.5 * draw.standard_normal(inputs) < bound
        found.append(torch.from_numpy(np.stack([right, np.full(inputs, 0.5)], axis=1)))
    return found


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("of_inputs", [0.0, 0.3, 1.0, 3.0])
def test_where_nothing_differs_a_verdict_is_as_seldom_as_it_says(seeds, of_inputs):
    """20,000 comparisons of a method with itself: seeds deviate by 2 points, inputs by a multiple of their mean's."""
    draw, repeats = np.random.Generator(np.random.PCG64(seeds)), 20_000
    differences = 0.02 * 2**0.5 * draw.standard_normal((repeats, seeds))
    V_s, V_i = differences.var(axis=1, ddof=1) / seeds, of_inputs * 0.02**2 * 2 / seeds
    value = differences.mean(axis=1) + V_i**0.5 * draw.standard_normal(repeats)
    wrong = np.abs(value) > combined_half_width(V_s, V_i, seeds, 0.95)
    assert 0.01 < wrong.mean() < 0.06
    # What stood here before: the percentiles of a bootstrap over seeds, about V_s (S - 1) / S and a normal quantile.
    bold = np.abs(value) > 1.96 * np.sqrt(V_s * (seeds - 1) / seeds + V_i)
    if seeds == 3 and of_inputs == 0:
        assert bold.mean() > 0.15


def test_from_logits_to_verdict_three_seeds_are_not_too_bold():
    draw, labels = np.random.Generator(np.random.PCG64(0)), torch.zeros(200, dtype=torch.long)
    wrong, repeats = 0, 200
    for repeat in range(repeats):
        hard = draw.standard_normal(200)
        arm, base = (of_seeds(draw, 3, 200, 0.04, hard) for _ in range(2))
        found = paired_difference(arm, base, labels, TWO, replicates=40, seed=repeat)
        wrong += not found.low <= 0 <= found.high
    assert wrong / repeats <= 0.07


def test_a_gain_that_seeds_agree_on_is_still_found_with_five():
    draw, labels = np.random.Generator(np.random.PCG64(9)), torch.zeros(1000, dtype=torch.long)
    hard, found = draw.standard_normal(1000), 0
    for repeat in range(20):
        arm = of_seeds(draw, 5, 1000, 0.01, hard - 0.3)
        found += (
            paired_difference(arm, of_seeds(draw, 5, 1000, 0.01, hard), labels, TWO, replicates=50, seed=repeat).low > 0
        )
    assert found >= 18


def test_delta_m_of_one_task_is_the_relative_difference_and_its_interval_follows():
    draw, labels = np.random.Generator(np.random.PCG64(3)), torch.zeros(500, dtype=torch.long)
    hard = draw.standard_normal(500)
    arm, base = (of_seeds(draw, 3, 500, 0.02, hard) for _ in range(2))
    rows = {"t": torch.arange(500)}
    relative = bootstrapped_delta_m({"t": arm}, {"t": base}, {"t": labels}, rows, [TWO], replicates=400)
    absolute = paired_difference(arm, base, labels, TWO, replicates=400)
    mean = np.mean([(z.argmax(dim=1) == 0).double().mean() for z in base])
    assert relative.value == pytest.approx(absolute.value / mean)
    assert (relative.high - relative.low) * mean == pytest.approx(absolute.high - absolute.low, rel=0.25)


def test_the_fewer_the_seeds_the_wider():
    draw, labels = np.random.Generator(np.random.PCG64(4)), torch.zeros(5000, dtype=torch.long)
    hard = draw.standard_normal(5000)
    arm, base = (of_seeds(draw, 8, 5000, 0.02, hard) for _ in range(2))
    widths = [
        (found := paired_difference(arm[:s], base[:s], labels, TWO, replicates=100)).high - found.low for s in (2, 8)
    ]
    assert widths[0] > 2 * widths[1]


def test_a_network_that_looks_at_nothing_is_at_chance_and_one_that_learned_is_not():
    draw = torch.Generator().manual_seed(0)
    y = torch.where(torch.rand(400, generator=draw) < 0.8, 0, 1)
    rare = torch.nn.functional.one_hot(y, 2).double()
    noise = torch.randn(400, 2, generator=draw)
    assert is_at_chance([torch.tensor([[1.0, 0.0]]).repeat(400, 1)], y, TWO), "the most frequent class"
    assert is_at_chance([noise], y, TWO)
    assert not is_at_chance([noise + 3 * rare], y, TWO)
    labels = Multilabel("l", ("rare", "often"))
    holds = (torch.rand(400, 2, generator=draw) < torch.tensor([0.1, 0.9])).long()
    assert is_at_chance([torch.ones(400, 2)], holds, labels), "states every label always: a high F1, and no sight"
    assert is_at_chance([noise, -noise], holds, labels)
    assert not is_at_chance([noise - 1 + 2 * holds] * 2, holds, labels)


def test_chance_is_told_by_the_metric_by_which_arms_are_compared():
    draw = torch.Generator().manual_seed(0)
    y = torch.where(torch.rand(400, generator=draw) < 0.9, 0, 1)
    # Finds every rare input and takes a third of the others for one: worse than always stating the frequent class,
    # by accuracy, and far better by the mean over classes.
    finds = torch.where(y == 1, 1, (torch.rand(400, generator=draw) < 1 / 3).long())
    z = torch.nn.functional.one_hot(finds, 2).double()
    assert is_at_chance([z], y, TWO)
    assert not is_at_chance([z], y, TWO, metric=BalancedAccuracy())
    noise = torch.randn(400, 2, generator=draw)
    assert all(is_at_chance([noise], y, TWO, metric=metric) for metric in (BalancedAccuracy(), MacroF1()))
