"""Losses of numbers and of ranks against float64 references, masked and normalised over the global batch."""

import math

import numpy as np
import pytest
import torch

from mtlcore import (
    JointLoss,
    MixedLabels,
    Multiclass,
    MultiTaskNetwork,
    Ordinal,
    Regression,
    class_log_probabilities,
    mlp,
    ordinal_loss,
    predicted_numbers,
    predicted_spread,
    regression_loss,
    supervised_loss,
)

MEAN, SPREAD = (40.0, -2.0), (10.0, 0.5)


def affect(loss):
    return Regression("affect", ("valence", "arousal"), loss=loss, delta=0.7, mean=MEAN, spread=SPREAD)


def problem(seed, width, n=40):
    draw = np.random.Generator(np.random.PCG64(seed))
    z = draw.normal(size=(n, width)) * 2
    y = draw.normal(size=(n, 2)) * SPREAD + MEAN
    y[draw.random((n, 2)) < 0.4] = np.nan
    return z, y


def of_entry(loss, z, s, y):
    """One entry's loss, from its formula alone."""
    e = z - y
    if loss == "mse":
        return e**2
    if loss == "huber":
        return e**2 / 2 if abs(e) <= 0.7 else 0.7 * (abs(e) - 0.35)
    s = min(max(s, -7), 7)
    return (s + e**2 / math.exp(s)) / 2


@pytest.mark.parametrize("loss", ["mse", "huber", "gaussian"])
def test_a_regression_loss_is_its_formula_over_annotated_entries(loss):
    task = affect(loss)
    for seed in range(4):
        z, y = problem(seed, task.width)
        total = sum(
            of_entry(loss, z[i, k], z[i, k + 2] if loss == "gaussian" else 0, (y[i, k] - MEAN[k]) / SPREAD[k])
            for i, k in np.argwhere(~np.isnan(y)).tolist()
        )
        found = regression_loss(torch.from_numpy(z), torch.from_numpy(y), task)
        assert found.count == (~np.isnan(y)).sum()
        assert float(found.total) == pytest.approx(total, rel=1e-10)


def of_rank(loss, z, y):
    above = 1 / (1 + np.exp(-z))
    if loss == "coral":
        return -sum(np.log(p if y > k else 1 - p) for k, p in enumerate(above))
    return -np.log(np.append(1, above)[y] - np.append(above, 0)[y])


@pytest.mark.parametrize("loss", ["coral", "cumulative"])
def test_an_ordinal_loss_is_its_formula_over_annotated_inputs(loss):
    task = Ordinal("pain", ("none", "mild", "strong", "worst"), loss=loss)
    draw = np.random.Generator(np.random.PCG64(1))
    z = -np.sort(draw.normal(size=(30, 3)) * 2, axis=1)
    y = draw.integers(-1, 4, size=30)
    total = sum(of_rank(loss, z[i], y[i]) for i in range(30) if y[i] >= 0)
    found = ordinal_loss(torch.from_numpy(z), torch.from_numpy(y), task)
    assert found.count == (y >= 0).sum()
    assert float(found.total) == pytest.approx(total, rel=1e-9)


def test_class_probabilities_sum_to_one_and_stay_finite_where_all_is_said():
    z = torch.tensor([[300.0, 299.0], [-299.0, -300.0], [0.0, 0.0], [5.0, -5.0]], dtype=torch.float64)
    log_p = class_log_probabilities(z)
    assert torch.isfinite(log_p).all()
    assert torch.allclose(log_p.exp().sum(dim=1), torch.ones(4, dtype=torch.float64))
    assert log_p.argmax(dim=1).tolist()[:2] == [2, 0]


TASKS = [affect("gaussian"), Ordinal("pain", ("none", "mild", "strong")), Multiclass("kind", ("a", "b"))]


def batch(seed=0, n=12):
    draw = torch.Generator().manual_seed(seed)
    logits = {task.name: torch.randn(n, task.width, generator=draw, requires_grad=True) for task in TASKS}
    numbers = torch.randn(n, 2, generator=draw)
    numbers[::3] = torch.nan
    numbers[1, 0] = torch.nan
    pain = torch.randint(-1, 3, (n,), generator=draw)
    return logits, {"affect": numbers, "pain": pain, "kind": torch.randint(-1, 2, (n,), generator=draw)}


@pytest.mark.parametrize("blends", [False, True])
def test_pieces_of_a_batch_sum_to_the_whole_whatever_is_missing_in_a_piece(blends):
    joint = JointLoss(TASKS, task_weights={"affect": 0.3})
    (logits, labels), (_, partners) = batch(), batch(1)
    mixed = MixedLabels(partners, 0.7) if blends else None
    whole = joint(logits, labels, mixed=mixed)
    gradient = torch.autograd.grad(whole.loss, list(logits.values()))
    (counts,) = joint.begin_counts(labels, mixed=mixed).wait()
    parts = [
        joint(
            {k: v[i::3] for k, v in logits.items()},
            {k: v[i::3] for k, v in labels.items()},
            mixed=mixed and MixedLabels({k: v[i::3] for k, v in partners.items()}, 0.7),
            counts=counts,
        ).loss
        for i in range(3)
    ]
    assert torch.isclose(sum(parts), whole.loss)
    in_pieces = torch.autograd.grad(sum(parts), list(logits.values()))
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(gradient, in_pieces, strict=True))


def test_what_is_not_annotated_has_a_gradient_of_zero_and_no_nan():
    logits, labels = batch()
    JointLoss(TASKS)(logits, labels).loss.backward()
    assert torch.isfinite(logits["affect"].grad).all()
    assert (logits["affect"].grad[::3] == 0).all()
    assert (logits["pain"].grad[labels["pain"] < 0] == 0).all()
    nothing = supervised_loss(torch.zeros(2, 4, requires_grad=True), torch.full((2, 2), torch.nan), TASKS[0])
    nothing.mean().backward()
    assert nothing.count == 0


def test_the_blend_of_two_squared_errors_has_the_gradient_of_the_error_to_the_blend():
    task = affect("mse")
    z = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    y, other = (torch.randn(5, 2, dtype=torch.float64) for _ in range(2))
    mixed = JointLoss([task])({"affect": z}, {"affect": y}, mixed=MixedLabels({"affect": other}, 0.3)).loss
    plain = JointLoss([task])({"affect": z}, {"affect": 0.3 * y + 0.7 * other}).loss
    assert torch.allclose(*(torch.autograd.grad(loss, z)[0] for loss in (mixed, plain)))


def test_labels_of_another_type_or_shape_are_refused():
    logits, labels = batch()
    for name, wrong, says in (
        ("affect", labels["affect"].nan_to_num(0).long(), "NaN where missing"),
        ("affect", labels["affect"][:, :1], "of shape"),
        ("pain", labels["pain"].float(), "-1 where missing"),
        ("pain", labels["pain"] + 2, "found the label"),
    ):
        with pytest.raises(ValueError, match=says):
            JointLoss(TASKS)(logits, labels | {name: wrong})


def test_predictions_are_in_the_unit_of_the_labels():
    task = affect("gaussian")
    z = torch.tensor([[1.0, -1.0, 0.0, 2 * math.log(2)]])
    assert predicted_numbers(z, task).tolist() == [[50.0, -2.5]]
    assert predicted_spread(z, task)[0].tolist() == pytest.approx([10.0, 1.0])
    perfect = torch.cat(
        [(torch.tensor([[47.0, -1.0]]) - torch.tensor(MEAN)) / torch.tensor(SPREAD), torch.zeros(1, 2)], 1
    )
    assert predicted_numbers(perfect, task)[0].tolist() == pytest.approx([47.0, -1.0])


def test_a_year_keeps_its_digits():
    """In float32 a year is known to a ten-thousandth; what the loss is made of must not be worse."""
    task = Regression("year", ("year",), mean=(2000.0,), spread=(0.01,))
    y = torch.tensor([[2000.01]])
    exact = (float(y) - 2000.0) / 0.01
    assert float(regression_loss(torch.zeros(1, 1), y, task).total) == pytest.approx(exact**2, rel=1e-5)


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_an_ordinal_head_keeps_its_thresholds_in_order_while_it_learns(hidden):
    torch.manual_seed(0)
    task = Ordinal("size", tuple("abcde"))
    network = MultiTaskNetwork(*mlp((1,), (16,)), [task], head_hidden=hidden)
    x = torch.linspace(-2, 2, 200)[:, None]
    y = ((x[:, 0] + 2) / 4.001 * 5).long()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        ordinal_loss(network(x)["size"], y, task).mean().backward()
        optimizer.step()
    z = network(x)["size"]
    assert (z.diff(dim=1) < 0).all()
    assert ((z > 0).sum(dim=1) - y).abs().float().mean() < 0.1
