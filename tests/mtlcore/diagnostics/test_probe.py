"""What is seen of relatedness during training is what its equations say, and seeing it changes nothing."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mtlcore import (
    JointLoss,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    RelatednessProbe,
    gradient_agreement,
    head_sharing,
    mlp,
    seeded_init,
    supervised_loss,
    unit_importance,
)

A, B, C = Multiclass("A", ("p", "q", "r")), Multilabel("B", ("x", "y")), Multilabel("C", ("z",))
N = 12


def network_of(tasks, seed=0, hidden=(8, 6)):
    with seeded_init(seed):
        backbone, features = mlp((5,), hidden)
        return MultiTaskNetwork(backbone, features, tasks)


def batch(seed=0):
    """Inputs of which the first half is annotated for A alone, the second for B and C."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(N, 5, generator=random)
    labels = {
        "A": torch.randint(0, 3, (N,), generator=random),
        "B": torch.randint(0, 2, (N, 2), generator=random),
        "C": torch.randint(0, 2, (N, 1), generator=random),
    }
    labels["A"][N // 2 :] = -1
    labels["B"][: N // 2] = -1
    labels["C"][: N // 2] = -1
    return x, labels


def losses_of(logits, labels, tasks):
    return {task.name: supervised_loss(logits[task.name], labels[task.name], task).total for task in tasks}


def reference_sharing(weight_a, weight_b, h):
    importance = [
        np.array([np.linalg.norm(W[:, j]) * np.std(h[:, j]) for j in range(h.shape[1])]) for W in (weight_a, weight_b)
    ]
    return sum(min(a, b) for a, b in zip(*(i / i.sum() for i in importance), strict=True))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 9), st.integers(2, 20))
def test_head_sharing_is_the_reference(seed, outputs, units, inputs):
    random = torch.Generator().manual_seed(seed)
    h = torch.randn(inputs, units, generator=random) * 3 + 1
    heads = {name: nn.Linear(units, n) for name, n in (("B", 2), ("C", outputs))}
    for head in heads.values():
        head.weight.data = torch.randn(head.weight.shape, generator=random)
    found = head_sharing(heads, {"B": h, "C": h}, [B, C])["B", "C"]
    W = [heads[name].weight.detach().double().numpy() for name in ("B", "C")]
    assert found == pytest.approx(reference_sharing(*W, h.double().numpy()), rel=1e-9)
    assert 0 <= found <= 1


def head(*rows):
    linear = nn.Linear(len(rows[0]), len(rows))
    linear.weight.data = torch.tensor(rows)
    return linear


def test_heads_that_read_the_same_units_share_all_and_those_that_keep_apart_share_nothing():
    h = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    left, left_too, right = head([1.0, 2.0, 0, 0]), head([-3.0, 6.0, 0, 0], [0.0, 0, 0, 0]), head([0, 0, 1.0, 1.0])
    read = dict.fromkeys("BC", h)
    assert head_sharing({"B": left, "C": left_too}, read, [B, C])["B", "C"] == pytest.approx(1)
    assert head_sharing({"B": left, "C": right}, read, [B, C])["B", "C"] == 0


def test_a_unit_that_never_moves_is_not_used_however_large_its_weight():
    h = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    h[:, 0] = 2.0
    both = {"B": head([99.0, 1.0, 0.0]), "C": head([99.0, 0.0, 1.0])}
    assert unit_importance(both["B"].weight, h)[0] == pytest.approx(0, abs=1e-5)
    assert head_sharing(both, dict.fromkeys("BC", h), [B, C])["B", "C"] == pytest.approx(0, abs=1e-5)


def test_what_no_softmax_can_see_is_not_read():
    """The same row added to every class's weights changes no prediction; of a multilabel head it changes all."""
    h = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    plain, shifted = head(*torch.eye(3).tolist()), head(*(torch.eye(3) + torch.tensor([9.0, 0, -5])).tolist())
    other, read = head([1.0, 0.5, 2.0]), {"A": h, "B": h}
    found = [head_sharing({"A": of_a, "B": other}, read, [A, B])["A", "B"] for of_a in (plain, shifted)]
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    read = {"B": h, "C": h}
    found = [head_sharing({"B": of_b, "C": other}, read, [B, C])["B", "C"] for of_b in (plain, shifted)]
    assert abs(found[0] - found[1]) > 0.05


def test_heads_that_read_other_features_have_no_same_hidden_units():
    h = torch.randn(5, 3)
    heads = {"B": head([1.0, 0, 0]), "C": head([1.0, 0, 0])}
    assert math.isnan(head_sharing(heads, {"B": h, "C": h.clone()}, [B, C])["B", "C"])
    assert math.isnan(head_sharing(heads | {"C": nn.Identity()}, {"B": h, "C": h}, [B, C])["B", "C"])
    one_class = Multiclass("B", ("only",))
    assert math.isnan(head_sharing(heads, {"B": h, "C": h}, [one_class, C])["B", "C"])


def test_gradient_agreement_is_the_cosine_of_the_shared_gradients_alone():
    tasks = [A, B, C]
    network, (x, labels) = network_of(tasks), batch()
    found = gradient_agreement(losses_of(network(x), labels, tasks), network.parameters())
    gradients = {}
    for task in tasks:
        alone = copy.deepcopy(network)
        losses_of(alone(x), labels, tasks)[task.name].backward()
        gradients[task.name] = np.concatenate([p.grad.double().numpy().ravel() for p in alone.backbone.parameters()])
    assert list(found) == [("A", "B"), ("A", "C"), ("B", "C")]
    for (a, b), cosine in found.items():
        g, k = gradients[a], gradients[b]
        assert cosine == pytest.approx(g @ k / (np.linalg.norm(g) * np.linalg.norm(k)), abs=1e-6)
        assert -1 < cosine < 1


def test_a_task_agrees_with_itself_and_conflicts_with_its_opposite():
    network, (x, labels) = network_of([A, B]), batch()
    loss = losses_of(network(x), labels, [A, B])["A"]
    found = gradient_agreement({"one": loss, "twice": 2 * loss, "opposite": -loss}, network.parameters())
    assert found["one", "twice"] == pytest.approx(1)
    assert found["one", "opposite"] == pytest.approx(-1)


def test_without_a_shared_parameter_or_a_gradient_there_is_no_agreement():
    network, (x, labels) = network_of([A, B]), batch()
    losses = losses_of(network(x), labels, [A, B])
    assert math.isnan(gradient_agreement(losses, network.heads.parameters())["A", "B"])
    labels["B"][:] = -1
    assert math.isnan(gradient_agreement(losses_of(network(x), labels, [A, B]), network.parameters())["A", "B"])


def test_frozen_parameters_take_no_part():
    network, (x, labels) = network_of([A, B]), batch()
    before = gradient_agreement(losses_of(network(x), labels, [A, B]), network.parameters())
    network.backbone[1].requires_grad_(False)
    after = gradient_agreement(losses_of(network(x), labels, [A, B]), network.parameters())
    assert not math.isnan(after["A", "B"])
    assert after != before


class Dropping(nn.Module):
    """A network that draws random numbers and keeps statistics in its forward pass."""

    def __init__(self):
        super().__init__()
        self.inner = network_of([A, B, C])
        self.inner.backbone.append(nn.BatchNorm1d(6))
        self.inner.backbone.append(nn.Dropout(0.3))
        self.heads = self.inner.heads

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize("build", [lambda: network_of([A, B, C]), Dropping])
def test_measuring_changes_no_bit_of_training(build):
    def trained(every):
        network, joint_loss = build(), JointLoss([A, B, C])
        optimizer = torch.optim.AdamW(network.parameters())
        probe = RelatednessProbe(network, [A, B, C])
        with seeded_init(7):
            for step in range(8):
                x, labels = batch(step)
                with probe.reading(bool(every) and step % every == 0):
                    logits = network(x)
                value = joint_loss(logits, labels)
                probe.measure(step, logits, labels)
                optimizer.zero_grad()
                value.loss.backward()
                optimizer.step()
            drawn = torch.rand(())
        assert not network.heads["A_head"]._forward_pre_hooks
        return network.state_dict(), drawn, probe.measured

    without, drawn_without, nothing = trained(0)
    with_it, drawn_with, measured = trained(3)
    assert nothing == []
    assert [(pair.step, pair.a, pair.b) for pair in measured] == [
        (step, *pair) for step in (0, 3, 6) for pair in (("A", "B"), ("A", "C"), ("B", "C"))
    ]
    assert all(0 < pair.head_sharing < 1 and -1 < pair.gradient_agreement < 1 for pair in measured)
    assert torch.equal(drawn_with, drawn_without)
    assert all(torch.equal(with_it[name], value) for name, value in without.items())


def test_a_network_without_heads_by_task_is_measured_by_its_gradients_alone():
    class Whole(nn.Linear):
        def forward(self, x):
            z = super().forward(x)
            return {"A": z[:, :3], "B": z[:, 3:]}

    (x, labels), network = batch(), Whole(5, 5)
    probe = RelatednessProbe(network, [A, B])
    with probe.reading():
        logits = network(x)
    probe.measure(0, logits, {name: labels[name] for name in "AB"})
    (pair,) = probe.measured
    assert math.isnan(pair.head_sharing)
    assert pair.gradient_agreement == pytest.approx(0, abs=1e-12), "the outputs' weights are rows apart"


def test_with_one_task_there_is_nothing_to_measure():
    network, (x, labels) = network_of([A]), batch()
    probe = RelatednessProbe(network, [A])
    with probe.reading():
        logits = network(x)
    probe.measure(0, logits, {"A": labels["A"]})
    assert probe.measured == []


def test_tasks_of_one_cause_agree_and_share_more_than_unrelated_ones():
    """Inputs of 10 numbers; two tasks ask for the same one, a third for another. Trained together for a while, the
    first two heads come to use the same units, and their gradients agree from the start."""
    tasks = [Multilabel(name, ("yes",)) for name in ("same", "too", "other")]
    random = torch.Generator().manual_seed(0)
    with seeded_init(1):
        backbone, features = mlp((10,), (64,))
        network = MultiTaskNetwork(backbone, features, tasks)
    probe, joint_loss = RelatednessProbe(network, tasks), JointLoss(tasks)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1)
    for step in range(300):
        x = torch.randn(256, 10, generator=random)
        held = {"same": x[:, :1] > 0, "too": x[:, :1] > 0, "other": x[:, 1:2] > 0}
        labels = {name: y.long() for name, y in held.items()}
        with probe.reading(step % 30 == 0):
            logits = network(x)
        value = joint_loss(logits, labels)
        probe.measure(step, logits, labels)
        optimizer.zero_grad()
        value.loss.backward()
        optimizer.step()
    last = {(pair.a, pair.b): pair for pair in probe.measured[-3:]}
    first = {(pair.a, pair.b): pair for pair in probe.measured[:3]}
    related, unrelated = ("same", "too"), [("same", "other"), ("too", "other")]
    assert all(last[related].head_sharing > last[pair].head_sharing + 0.1 for pair in unrelated)
    assert last[related].head_sharing > first[related].head_sharing
    means = {pair: np.mean([m.gradient_agreement for m in probe.measured if (m.a, m.b) == pair]) for pair in first}
    assert all(means[related] > means[pair] + 0.3 for pair in unrelated)
