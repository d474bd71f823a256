"""The loss of blended inputs is the blend of the losses, over what both inputs are annotated for."""

import numpy as np
import pytest
import torch

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    MixedLabels,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
)
from tests.mtlcore.losses import reference

A, B = Multiclass("species", ("cat", "crow", "bee")), Multilabel("traits", ("furry", "flies", "black", "stings"))
TABLE = np.array([[1.0, 0.0, 0.3, 0.0], [0.0, 0.9, 1.0, 0.1], [0.4, 1.0, 0.5, 0.9]])
N, OWN = 60, 0.7


def problem():
    rng = np.random.Generator(np.random.PCG64(4))
    z = {"species": rng.normal(size=(N, 3)), "traits": rng.normal(size=(N, 4))}
    y, other = (
        {
            "species": np.where(rng.random(N) < 0.3, -1, rng.integers(0, 3, N)),
            "traits": np.where(rng.random((N, 4)) < 0.3, -1, rng.integers(0, 2, (N, 4))),
        }
        for _ in range(2)
    )
    return z, y, other


def loss_of(z, y, other=None, own=OWN):
    R = Relatedness(A, B, torch.tensor(TABLE))
    pair = RelatedPair(R, DistributionMatching(0.5), SoftCoAnnotation(0.4, tau_co=0.2), ImpliedLikelihood(0.3))
    logits = {name: torch.tensor(values, requires_grad=True) for name, values in z.items()}
    labels, others = ({name: torch.tensor(v) for name, v in of.items()} if of else None for of in (y, other))
    value = JointLoss([A, B], [pair])(logits, labels, mixed=MixedLabels(others, own) if others else None)
    value.loss.backward()
    return value, {name: of.grad for name, of in logits.items()}


def test_every_part_is_the_reference_over_entries_that_are_annotated_in_both():
    z, y, other = problem()
    both = {name: (y[name] >= 0) & (other[name] >= 0) for name in y}
    y_both, other_both = ({name: np.where(both[name], of[name], -1) for name in of} for of in (y, other))

    def blend(part):
        (total, count), (total_other, count_other) = part(y_both), part(other_both)
        return (OWN * total + (1 - OWN) * total_other) / (OWN * count + (1 - OWN) * count_other)

    expected = {
        "species": blend(lambda of: reference.supervised(z["species"], of["species"], True)),
        "traits": blend(lambda of: reference.supervised(z["traits"], of["traits"], False)),
        "dm:species->traits": np.divide(
            *reference.distribution_matching(z["species"], z["traits"], TABLE, False, 1.0, "own_is_target")
        ),
        "sca:traits->species": blend(
            lambda of: reference.sca_to_classes(z["species"], of["traits"], TABLE, False, 0.2, form="bayes")
        ),
        "sca:species->traits": blend(
            lambda of: reference.sca_to_labels(z["traits"], of["species"], TABLE, False, "positive")
        ),
        "ill:traits->species": blend(lambda of: reference.ill(z["species"], of["traits"], TABLE, False)),
    }
    parts = loss_of(z, y, other)[0].parts
    assert set(parts) == set(expected)
    for name, value in expected.items():
        assert parts[name].item() == pytest.approx(value, rel=1e-9), name


def test_what_one_of_the_two_is_not_annotated_for_changes_nothing():
    z, y, other = problem()
    before, gradient = loss_of(z, y, other)
    hidden = {name: np.where(other[name] < 0, 0, values) for name, values in y.items()}
    after, gradient_after = loss_of(z, hidden, other)
    assert after.loss.item() == before.loss.item()
    alone = np.nonzero((y["species"] < 0) | (other["species"] < 0))[0]
    only_supervised = JointLoss([A])
    logits = torch.tensor(z["species"], requires_grad=True)
    only_supervised(
        {"species": logits},
        {"species": torch.tensor(y["species"])},
        mixed=MixedLabels({"species": torch.tensor(other["species"])}, OWN),
    ).loss.backward()
    assert not logits.grad[alone].any()
    assert logits.grad.abs().sum() > 0
    assert all(torch.equal(gradient[name], gradient_after[name]) for name in gradient)


def test_a_partner_with_the_same_labels_or_no_share_in_it_is_no_mixture():
    z, y, other = problem()
    plain = loss_of(z, y)[0].loss.item()
    assert loss_of(z, y, y)[0].loss.item() == pytest.approx(plain, rel=1e-12)
    whole = {name: np.where(values < 0, 0, values) for name, values in other.items()}
    assert loss_of(z, y, whole, own=1.0)[0].loss.item() == pytest.approx(plain, rel=1e-12)


def test_blended_labels_are_checked_as_labels_are():
    z, y, other = problem()
    with pytest.raises(ValueError, match="task 'species': found the label 3"):
        loss_of(z, y, other | {"species": np.full(N, 3)})
