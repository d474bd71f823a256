"""Weighted, smoothed, focal and asymmetric losses against their formulas and torch's, masked as the others."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mtlcore import ClassLoss, JointLoss, Multiclass, Multilabel, class_loss, label_loss, supervised_loss

CLASSES, LABELS = ("a", "b", "c"), ("p", "q")
WEIGHTS = (3.0, 1.0, 0.5)


def classes(seed=0, n=30):
    draw = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(draw.normal(size=(n, 3)) * 2), torch.from_numpy(draw.integers(-1, 3, size=n))


def labels(seed=0, n=30):
    draw = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(draw.normal(size=(n, 2)) * 2), torch.from_numpy(draw.integers(-1, 2, size=(n, 2)))


def task(**settings):
    return Multiclass("kind", CLASSES, loss=ClassLoss(**settings))


def of_labels(**settings):
    return Multilabel("traits", LABELS, loss=ClassLoss(**settings))


def test_without_settings_each_is_the_plain_loss():
    z, y = classes()
    for plain, other in ((Multiclass("kind", CLASSES), task()), (Multilabel("traits", LABELS), of_labels())):
        a, b = supervised_loss(z, y, plain), supervised_loss(z, y, other)
        assert a.count == b.count
        assert torch.isclose(a.total, b.total)
        z, y = labels()


def test_class_weights_are_torchs_weighted_mean():
    z, y = classes()
    found = class_loss(z, y, task(class_weights=WEIGHTS)).mean()
    known = y >= 0
    assert torch.isclose(found, F.cross_entropy(z[known], y[known], weight=torch.tensor(WEIGHTS, dtype=z.dtype)))


def test_smoothing_is_torchs_and_weighs_an_input_by_its_own_class():
    z, y = classes()
    known = y >= 0
    expected = F.cross_entropy(z[known], y[known], label_smoothing=0.2)
    assert torch.isclose(class_loss(z, y, task(smoothing=0.2)).mean(), expected)
    each = F.cross_entropy(z[known], y[known], label_smoothing=0.2, reduction="none")
    w = torch.tensor(WEIGHTS, dtype=z.dtype)[y[known]]
    found = class_loss(z, y, task(smoothing=0.2, class_weights=WEIGHTS)).mean()
    assert torch.isclose(found, (w * each).sum() / w.sum())


def test_the_focal_loss_of_classes_is_its_formula():
    z, y = classes()
    p = z.softmax(dim=1)
    expected = -sum((1 - p[i, c]) ** 1.5 * p[i, c].log() for i, c in enumerate(y.tolist()) if c >= 0)
    assert torch.isclose(class_loss(z, y, task(kind="focal", gamma=1.5)).total, expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["cross_entropy", "focal", "asymmetric"])
def test_losses_of_labels_are_their_formulas(kind, smoothing):
    z, y = labels()
    settings = ClassLoss(
        kind, gamma=2.5, gamma_positive=0.5, margin=0.1, smoothing=smoothing, positive_weights=(2.0, 0.7)
    )
    total = 0.0
    for i, k in np.argwhere(y.numpy() >= 0).tolist():
        p, t = float(z[i, k].sigmoid()), (1 - smoothing) * float(y[i, k]) + smoothing / 2
        positive, negative, shifted = {
            "cross_entropy": (0, 0, p),
            "focal": (2.5, 2.5, p),
            "asymmetric": (0.5, 2.5, max(p - 0.1, 0)),
        }[kind]
        total -= (2.0, 0.7)[k] * t * (1 - p) ** positive * np.log(p)
        total -= (1 - t) * shifted**negative * np.log(1 - shifted)
    found = label_loss(z, y, Multilabel("traits", LABELS, loss=settings))
    assert found.count == (y >= 0).sum()
    assert float(found.total) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("kind", ["focal", "asymmetric"])
def test_value_and_gradient_stay_finite_however_sure_the_network_is(kind, gamma):
    for scale in (0.0, 30.0, 1e4):
        z = torch.tensor([[scale, -scale], [-scale, scale]], requires_grad=True)
        loss = label_loss(z, torch.tensor([[1, 0], [1, 0]]), of_labels(kind=kind, gamma=gamma, gamma_positive=gamma))
        loss.total.backward()
        assert torch.isfinite(loss.total)
        assert torch.isfinite(z.grad).all()
        z = torch.tensor([[scale, 0.0, 0.0]] * 3, requires_grad=True)
        loss = class_loss(z, torch.tensor([0, 1, -1]), task(kind="focal", gamma=gamma))
        loss.total.backward()
        assert torch.isfinite(loss.total)
        assert torch.isfinite(z.grad).all()


def test_pieces_of_a_batch_divide_by_the_weights_of_the_whole():
    tasks = [task(class_weights=WEIGHTS, kind="focal"), of_labels(kind="asymmetric", positive_weights=(3.0, 1.0))]
    joint = JointLoss(tasks)
    (z, y), (z_l, y_l) = classes(), labels()
    whole = joint({"kind": z, "traits": z_l}, {"kind": y, "traits": y_l}).loss
    (counts,) = joint.begin_counts({"kind": y, "traits": y_l}).wait()
    pieces = [
        joint({"kind": z[i::4], "traits": z_l[i::4]}, {"kind": y[i::4], "traits": y_l[i::4]}, counts=counts).loss
        for i in range(4)
    ]
    assert torch.isclose(sum(pieces), whole)


def test_a_loss_of_labels_is_refused_for_classes():
    with pytest.raises(ValueError, match="asymmetric"):
        task(kind="asymmetric")
    with pytest.raises(ValueError, match="smoothing"):
        ClassLoss(smoothing=1.0)
