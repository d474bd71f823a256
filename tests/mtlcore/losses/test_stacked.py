"""Stacked losses: the values of the single ones, in as few operations for twenty pairs as for two."""

import pytest
import torch

from mtlcore import DistributionMatching, ImpliedLikelihood, JointLoss, MixedLabels, RelatednessTrust, SoftCoAnnotation
from mtlcore.losses import implied, implied_multilabel
from mtlcore.losses.columns import Spread, uses_of
from mtlcore.losses.loss_term import LossTerm
from mtlcore.losses.pair_loss import AddedPairLoss
from tests.mtlcore.losses.many_pairs import WAITS, ManyPairs, Operations


def paper_losses(i, prior):
    return (
        DistributionMatching(0.3, 1.0, "own_is_target", stop_gradient=True, form="positive"),
        SoftCoAnnotation(0.4, 0.1, "positive", source_form="paper", prior=prior),
        ImpliedLikelihood(0.2 * (i % 2)),
    )


def value_and_gradients(joint, problem, trust=None, mixed=None, counts=None):
    value = joint(problem.logits, problem.labels, trust, mixed, counts)
    return value, torch.autograd.grad(value.loss, list(problem.logits.values()))


def one_by_one(problem, monkeypatch):
    """Return the same objective, every term by itself."""
    joint = JointLoss(problem.tasks, problem.pairs, {"A": 2.0})
    monkeypatch.setattr(joint, "_is_stacked", lambda device: False)
    return joint


def in_stacks(problem, monkeypatch):
    monkeypatch.setattr(problem.joint, "_is_stacked", lambda device: True)
    return problem.joint


@pytest.fixture(params=[True, False], ids=["looking", "blind"])
def looking(request, monkeypatch):
    """Compute as on a CPU, where losses look at values, or as on an accelerator, where they do not."""
    if not request.param:
        monkeypatch.setattr(implied, "looks_at_values", lambda tensor: False)
        monkeypatch.setattr(implied_multilabel, "looks_at_values", lambda tensor: False)
    return request.param


@pytest.mark.parametrize("losses", [None, paper_losses], ids=["posterior", "paper"])
@pytest.mark.parametrize("trusted", ["full", "rows", "cells"])
def test_stacked_terms_are_the_single_ones(monkeypatch, looking, losses, trusted):
    for seed, scale, unknown in ((0, 1.0, 0.2), (1, 1000.0, 0.0), (2, 1000.0, 0.2)):
        problem = ManyPairs(4, seed, losses=losses, scale=scale, unknown=unknown)
        trust = {
            "full": None,
            "rows": {key: cells[:, 0] for key, cells in problem.trust.items()},
            "cells": problem.trust,
        }[trusted]
        single, of_single = value_and_gradients(one_by_one(problem, monkeypatch), problem, trust)
        value, gradients = value_and_gradients(in_stacks(problem, monkeypatch), problem, trust)
        assert list(value.parts) == list(single.parts)
        for name, part in single.parts.items():
            torch.testing.assert_close(value.parts[name], part, rtol=1e-9, atol=1e-12, msg=name)
        for one, other in zip(of_single, gradients, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-12)
        assert list(value.objectives) == list(single.objectives)
        for name, objective in single.objectives.items():
            torch.testing.assert_close(value.objectives[name].share, objective.share, rtol=1e-9, atol=1e-12)
            assert value.objectives[name].present == objective.present


@pytest.mark.parametrize("hub", ["multiclass", "multilabel"])
def test_blends_pieces_and_added_losses_are_the_single_ones(monkeypatch, looking, hub):
    def losses(i, prior):
        added = AddedPairLoss("mine", 0.5, lambda z, y, R, t: LossTerm(z["A"].sum(), torch.tensor(float(len(z["A"])))))
        return (
            DistributionMatching(0.5),
            SoftCoAnnotation(0.5, prior=prior),
            ImpliedLikelihood(0.5),
            (added,) * (i == 1),
        )

    problem = ManyPairs(4, losses=losses, hub=hub)
    mixed = MixedLabels(problem.partners, 0.7)
    single, of_single = value_and_gradients(one_by_one(problem, monkeypatch), problem, problem.trust, mixed)
    joint = in_stacks(problem, monkeypatch)
    (counts,) = joint.begin_counts(problem.labels, problem.trust, mixed).wait()
    value, gradients = value_and_gradients(joint, problem, problem.trust, mixed, counts.double())
    for name, part in single.parts.items():
        torch.testing.assert_close(value.parts[name], part, rtol=1e-6, atol=1e-12, msg=name)  # counts are float32
    for one, other in zip(of_single, gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-6, atol=1e-9)


def test_a_column_that_is_used_twice_gets_the_sum_in_the_order_of_its_uses():
    places = [2, 0, 2, 2]
    for device in ("cpu", "meta"):
        x = torch.arange(6.0, device=device).view(2, 3).requires_grad_()
        out = Spread.apply(x, torch.tensor(places, device=device), uses_of(places, 3).to(device))
        out.backward(torch.arange(8.0, device=device).view(2, 4))
        if device == "cpu":
            assert x.grad.tolist() == [[1, 0, 5], [5, 0, 17]]
        assert x.grad.shape == (2, 3)


def operations(problem, trust=None):
    """Return what a step sends to a device that has no values: whatever looks at one fails there."""
    z, labels, trust = (
        {name: tensor.detach().to("meta") for name, tensor in of.items()}
        for of in (problem.logits, problem.labels, problem.trust)
    )
    for logits in z.values():
        logits.requires_grad_()
    for _ in range(2):  # tables are laid out at the first use
        with Operations() as noted:
            torch.autograd.grad(problem.joint(z, labels, trust).loss, list(z.values()))
    return noted.names


def shipped_losses(i, prior):
    return DistributionMatching(0.3), SoftCoAnnotation(1.0, form="full", prior=prior), ImpliedLikelihood(0.0)


@pytest.mark.parametrize("kinds", [("multilabel",), ("multilabel", "multiclass")])
def test_twenty_pairs_take_as_many_operations_as_two(kinds):
    two, twenty = (operations(ManyPairs(n, losses=shipped_losses, kinds=kinds, dtype=torch.float32)) for n in (2, 20))
    assert len(twenty) <= 1.03 * len(two)
    assert len(twenty) <= 350 * len(kinds)


@pytest.mark.parametrize("hub", ["multiclass", "multilabel"])
def test_no_operation_waits_for_the_device(hub):
    names = operations(ManyPairs(4, hub=hub, dtype=torch.float32))
    assert not [name for name in names if any(word in name for word in WAITS)]


def test_losses_and_trust_are_compiled_without_a_break(monkeypatch):
    """By a backend that needs no compiler; a branch on a value or on what torch cannot trace would be an error."""
    plain, compiled = (ManyPairs(3, losses=shipped_losses, dtype=torch.float32) for _ in range(2))
    in_stacks(plain, monkeypatch)
    compiled.joint.compile_terms(backend="aot_eager", fullgraph=True)
    (value, gradients), (other, others) = (value_and_gradients(p.joint, p, p.trust) for p in (plain, compiled))
    torch.testing.assert_close(other.loss, value.loss)
    for one, another in zip(gradients, others, strict=True):
        torch.testing.assert_close(another, one)
    tables, sizes = [pair.relatedness for pair in plain.pairs], dict.fromkeys(plain.labels, 8)
    trusts = [RelatednessTrust(tables, sizes) for _ in range(2)]
    trusts[1].compile_evidence(backend="aot_eager", fullgraph=True)
    h = dict.fromkeys(plain.labels, torch.randn(9, 8, generator=torch.Generator().manual_seed(0)))
    for trust in trusts:
        trust.observe(h, plain.labels)
    for name, tensor in trusts[0].state_dict().items():
        torch.testing.assert_close(trusts[1].state_dict()[name], tensor)
