"""What holds of a joint loss however large logits are."""

import math

import torch


def assert_finite_at(size, joint_loss, z_a, z_b, y_a, y_b, autocast):
    """Value and gradients are finite where every logit is as large as this."""
    z_a, z_b = (torch.sign(z.detach()).mul(size).requires_grad_() for z in (z_a, z_b))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = joint_loss({"A": z_a, "B": z_b}, {"A": y_a, "B": y_b})
    value.loss.backward()
    assert value.loss.dtype is torch.float32
    assert math.isfinite(value.loss.item())
    assert torch.isfinite(z_a.grad).all()
    assert torch.isfinite(z_b.grad).all()
