"""All-reduce sums over the data-parallel workers; without a process group there is one worker."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of workers that share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed_over_workers(shares: Tensor) -> Tensor:
    """Sum a tensor over all workers, in place; the same bits on every worker."""
    SumOverWorkers([shares]).wait()
    return shares


class SumOverWorkers:
    """Sums of tensors over all workers, in place, that run beside other work until they are waited for.

    All workers must begin their sums in the same order.
    """

    def __init__(self, shares: Sequence[Tensor]) -> None:
        self._shares = tuple(shares)
        self._flat: Tensor | None = None
        if world_size() > 1 and shares:
            self._flat = torch.cat([share.reshape(-1) for share in shares])
            self._sum = dist.all_reduce(self._flat, async_op=True)

    def wait(self) -> tuple[Tensor, ...]:
        """Return the sums; the same bits on every worker."""
        if self._flat is not None:
            self._sum.wait()
            for share, total in zip(
                self._shares, torch.split(self._flat, [s.numel() for s in self._shares]), strict=True
            ):
                share.copy_(total.view_as(share))
            self._flat = None
        return self._shares
