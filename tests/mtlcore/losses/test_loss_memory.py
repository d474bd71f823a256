"""What the graph of the losses keeps for its backward pass grows with batch x outputs; tables are read once."""

import gc

import pytest
import torch

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    co_annotation_to_labels,
    distribution_matching_loss,
)
from mtlcore.losses.implied import ExactLogMass
from mtlcore.relatedness.device_cache import _KEPT, cached_on_device, identity_view

C, L = 200, 60
A, B = Multiclass("A", tuple(f"c{i}" for i in range(C))), Multilabel("B", tuple(f"l{i}" for i in range(L)))


def a_table(unknown):
    draw = torch.rand(2, C, L, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = torch.where(draw[0] < 0.1, 1.0, torch.where(draw[0] < 0.3, draw[1], 0.0))
    return table.masked_fill(draw[1] < unknown, torch.nan)


def kept_elements(R, inputs, size, trust):
    """Elements of the storages that the graph saves, each storage counted once."""
    draw = torch.Generator().manual_seed(1)
    z = {t.name: (size * torch.randn(inputs, len(t.outputs), generator=draw)).requires_grad_() for t in (A, B)}
    y = {"A": torch.randint(-1, C, (inputs,), generator=draw), "B": torch.randint(-1, 2, (inputs, L), generator=draw)}
    pair = RelatedPair(R, DistributionMatching(1.0), SoftCoAnnotation(1.0, 0.1), ImpliedLikelihood(1.0))
    joint, storages = JointLoss((A, B), [pair]), {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = joint(z, y, {"A->B": torch.full((C,), 0.5)} if trust else None).loss
    assert loss.requires_grad
    return sum(storage.nbytes() for storage in storages.values()) / 4


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize(("unknown", "trust"), [(0.0, False), (0.1, False), (0.1, True)])
def test_what_the_losses_keep_is_linear_in_batch_times_outputs(size, unknown, trust):
    """1e4: the sums of most entries underflow; kept by class, they would be (C + L) * 40 an input and more."""
    R = Relatedness(A, B, a_table(unknown))
    at = {inputs: kept_elements(R, inputs, size, trust) for inputs in (32, 64, 128)}
    more, twice = at[64] - at[32], at[128] - at[64]
    assert twice == pytest.approx(2 * more, rel=0.1)
    assert more / 32 < 35 * (C + L)


def test_the_exact_sum_has_the_gradient_of_its_value_also_batched_and_in_parts(monkeypatch):
    monkeypatch.setattr("mtlcore.losses.implied._EXACT_CHUNK", 9)  # two or three entries at a time
    draw = torch.Generator().manual_seed(2)
    log_p = torch.randn(4, 3, generator=draw, dtype=torch.float64).mul(3).requires_grad_()
    cells = torch.tensor([[1.0, 0.0], [0.3, 0.0], [0.0, 0.2]], dtype=torch.float64)
    rows, columns = torch.ones(4, 2).nonzero(as_tuple=True)
    value = ExactLogMass.apply(log_p, cells, rows, columns)
    torch.testing.assert_close(value, (log_p.exp() @ cells).log().flatten())
    assert torch.autograd.gradcheck(lambda z: ExactLogMass.apply(z, cells, rows, columns), (log_p,))
    directions = torch.randn(3, 8, generator=draw, dtype=torch.float64)
    (batched,) = torch.autograd.grad(value, log_p, directions, is_grads_batched=True, retain_graph=True)
    for direction, found in zip(directions, batched, strict=True):
        torch.testing.assert_close(torch.autograd.grad(value, log_p, direction, retain_graph=True)[0], found)


def test_a_table_that_was_written_into_is_read_anew():
    R = Relatedness(A, B, a_table(0.0))
    z_A, z_B = torch.zeros(2, C), torch.zeros(2, L)
    before = distribution_matching_loss(z_A, z_B, R).total
    R.table.fill_(0.5)
    after = distribution_matching_loss(z_A, z_B, R).total
    assert after.item() == pytest.approx(distribution_matching_loss(z_A, z_B, Relatedness(A, B, R.table)).total.item())
    assert after != before


def test_a_loss_first_computed_in_inference_mode_can_still_be_trained():
    R = Relatedness(A, B, a_table(0.1))
    with torch.inference_mode():
        distribution_matching_loss(torch.zeros(2, C), torch.zeros(2, L), R)
        co_annotation_to_labels(torch.zeros(2, L), torch.tensor([0, 1]), R)
    z_A, z_B = torch.zeros(2, C, requires_grad=True), torch.zeros(2, L, requires_grad=True)
    distribution_matching_loss(z_A, z_B, R).total.backward()
    assert torch.isfinite(z_A.grad).all()


def test_what_is_kept_goes_with_its_relatedness():
    R = Relatedness(A, B, a_table(0.0))
    held = len(_KEPT)
    cached_on_device(R, identity_view, torch.device("cpu"), torch.float32)
    assert len(_KEPT) == held + 1
    del R
    gc.collect()
    assert len(_KEPT) <= held
