"""The state of TorchJD's aggregators as plain tensors, which TorchJD 0.18 saves only in part."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator


def aggregator_state(aggregator: "Aggregator", names: Sequence[str]) -> dict[str, Tensor]:
    """Return copies of the named attributes that are set."""
    held = _holder(aggregator) if names else None
    values = {name: getattr(held, name) for name in names}
    return {name: torch.as_tensor(value).detach().clone() for name, value in values.items() if value is not None}


def load_aggregator_state(
    aggregator: "Aggregator", names: Sequence[str], state: Mapping[str, Tensor], device: torch.device
) -> None:
    """Set the named attributes, and what the aggregator compares to see that the state is of its kind of matrix."""
    if not names:
        return
    held, kind = _holder(aggregator), type(aggregator).__name__
    held.reset()  # of what another run may have left: attributes that are not in the state are unset
    tensors = {name: tensor.detach().clone() for name, tensor in state.items()}
    if not tensors:
        return
    if kind == "NashMTL":
        # What it computes in lies outside torch, and its solver's problem is built of it anew.
        held.prvs_alpha, held.step = tensors["prvs_alpha"].cpu().numpy(), tensors["step"].item()
        if held.step:
            held._init_optim_problem()
        return
    for name in names:
        value: Any = tensors.get(name)
        if kind == "ExcessMTL" and value is not None:
            value = value.item() if name == "_n_steps" else value.to(device)
        setattr(held, name, value)
    if kind == "GradVac" and "_phi_t" in tensors:
        held._state_key = len(held._phi_t), held._phi_t.dtype
    elif kind == "PCD" and "_sq_norm_ema" in tensors:
        held._state_key = len(held._sq_norm_ema)
    elif kind == "ExcessMTL" and "_sq_grad_sum" in tensors:
        held._state_key = *held._sq_grad_sum.shape, held._sq_grad_sum.dtype, held._sq_grad_sum.device


def _holder(aggregator: Any) -> Any:
    return getattr(aggregator, "gramian_weighting", None) or aggregator.weighting
