"""Predict many inputs, a batch of one fixed size after another: in evaluation and in use alike."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

# Kernels are chosen by a batch's shape, and differ in the last bit. With one shape an input's prediction does not
# depend on what stands beside it, or on how many: what is predicted in use is what was evaluated, to the bit.
ROWS_AT_ONCE = 128


@torch.inference_mode()
def forward_in_batches(
    forward: Callable[[Tensor], Mapping[str, Tensor]], inputs: Tensor, device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """Return what ``forward`` makes of inputs, put together again, on the CPU.

    Args:
        forward: maps (N, ...) to tensors of (N, ...) by name.
        inputs: at least one.
        device: where to compute.
    """
    parts: list[dict[str, Tensor]] = []
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        part = inputs[start : start + ROWS_AT_ONCE]
        n = len(part)
        if n < ROWS_AT_ONCE:
            part = torch.cat([part, part.new_zeros(ROWS_AT_ONCE - n, *part.shape[1:])])
        parts.append({name: out[:n].cpu() for name, out in forward(part.to(device)).items()})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as Ray's workers do that evaluate: how many there are may change the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
