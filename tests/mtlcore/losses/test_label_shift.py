"""Class priors of inputs without labels, found from predictions: offline, and while a network trains."""

import numpy as np
import pytest
import torch

from mtlcore import (
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    ShiftedPriors,
    SoftCoAnnotation,
    co_annotated_classes,
    prior_by_confusion,
    prior_by_em,
)

A, B = Multiclass("A", ("a", "b", "c")), Multilabel("B", ("l", "m"))
R = Relatedness.from_rows(A, B, {"a": "l", "b": {"l": 0.6, "m": 0.4}, "c": "m"})
MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
SOURCE, SHIFTED = np.array([1, 1, 1]) / 3, np.array([0.7, 0.2, 0.1])


def inputs(prior, n, seed):
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=prior)
    return rng.normal(size=(n, 2)) + MEANS[y], y


def log_likelihoods(x):
    return -0.5 * ((x[:, None] - MEANS) ** 2).sum(axis=2)


def probabilities(x, prior=SOURCE):
    joint = np.exp(log_likelihoods(x)) * prior
    return torch.from_numpy(joint / joint.sum(axis=1, keepdims=True))


def test_both_ways_find_a_prior_that_shifted():
    x, _ = inputs(SHIFTED, 20000, 0)
    p = probabilities(x)
    found = prior_by_em(p, torch.from_numpy(SOURCE)).numpy()
    np.testing.assert_allclose(found, SHIFTED, atol=0.02)
    held_out, y = inputs(SOURCE, 20000, 1)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (probabilities(held_out).argmax(dim=1).numpy(), y), 1 / len(y))
    predicted = np.bincount(p.argmax(dim=1).numpy(), minlength=3) / len(x)
    by_confusion = prior_by_confusion(torch.from_numpy(confusion), torch.from_numpy(predicted)).numpy()
    np.testing.assert_allclose(by_confusion, SHIFTED, atol=0.03)
    assert abs(predicted - SHIFTED).max() > 0.05, "counting predictions alone would not have"


def test_the_running_estimate_finds_it_batch_by_batch_from_inputs_of_the_target_alone():
    shifted = ShiftedPriors([R], {"A": tuple(SOURCE)})
    for step in range(400):
        x, _ = inputs(SHIFTED, 48, step)
        own, y_own = inputs(SOURCE, 16, 1000 + step)
        logits = {"A": torch.from_numpy(log_likelihoods(np.concatenate([own, x])))}
        labels = {"A": torch.tensor([*y_own, *[-1] * 48]), "B": torch.tensor([[-1, -1]] * 16 + [[1, 0]] * 48)}
        for piece in (slice(0, None, 2), slice(1, None, 2)):
            shifted.collect({"A": logits["A"][piece]}, {name: y[piece] for name, y in labels.items()})
        shifted.end_step()
    np.testing.assert_allclose(shifted.by_edge()["A->B"].numpy(), SHIFTED, atol=0.06)
    other = ShiftedPriors([R], {"A": tuple(SOURCE)})
    other.load_state_dict(shifted.state_dict())
    assert torch.equal(other.by_edge()["A->B"], shifted.by_edge()["A->B"])
    with pytest.raises(ValueError, match="state: found"):
        other.load_state_dict({})


def test_the_joint_loss_reads_it_where_classes_share_evidence():
    joint = JointLoss([A, B], [RelatedPair(R, sca=SoftCoAnnotation(1.0, to_target=False, prior=(1.0, 1.0, 1.0)))])
    z = {"A": torch.randn(4, 3), "B": torch.randn(4, 2)}
    y = {"A": torch.full((4,), -1), "B": torch.tensor([[1, 0], [1, 1], [0, 1], [-1, -1]])}
    prior = torch.from_numpy(SHIFTED).float()
    q = co_annotated_classes(y["B"], R, prior=prior, dtype=torch.float32).q_A
    expected = -(q * torch.log_softmax(z["A"], dim=1)).sum() / 3
    found = joint(z, y, priors={"A->B": prior}).parts["sca:B->A"]
    torch.testing.assert_close(found, expected)
    assert not torch.isclose(found, joint(z, y).parts["sca:B->A"])
