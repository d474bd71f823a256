"""One data-parallel worker: its rank, device and the settings that the workers share."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


@dataclass(frozen=True)
class Worker:
    """A worker's place among its peers.

    Attributes:
        rank: its number, from 0.
        world_size: how many there are.
        device: where it computes.
        wrap: makes a network ready for these workers.
        nodes_to_go: asks, together with all peers, which nodes are about to be taken away; their ids.
        local_workers: how many workers share this worker's node.
        stop_asked: whether the command is to end; only what the first worker hears counts.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network
    nodes_to_go: Callable[[], tuple[str, ...]] = lambda: ()
    local_workers: int = 1
    stop_asked: Callable[[], bool] = lambda: False

    def agree(self, *decisions: bool) -> list[bool]:
        """Return what the first worker says, on all: where clocks decide, only its own does."""
        if self.world_size == 1:
            return list(decisions)
        shared = torch.tensor(decisions, dtype=torch.uint8, device=self.device)
        dist.broadcast(shared, src=0)
        return [bool(value) for value in shared.tolist()]

    def agree_on(self, text: str | None) -> str | None:
        """Return the first worker's word, on all."""
        if self.world_size == 1:
            return text
        shared = [text]
        dist.broadcast_object_list(shared, src=0, device=self.device)
        return shared[0]

    def seed_draws(self, seed: int, step: int) -> None:
        """Seed what a network draws in a step (dropout), which takes no generator of ours; nothing is remembered."""
        number = int(np.random.SeedSequence([seed % 2**63, step, self.rank]).generate_state(1, np.uint64)[0] >> 1)
        # torch.manual_seed asks for every kind of device, which takes longer than a small step.
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(number)


def allow_tf32(allowed: bool) -> None:
    """State whether GPUs may round the factors of float32 matrix products and convolutions to TF32 (10-bit mantissas).

    torch's own defaults allow it for convolutions and not for matrix products.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def ray_worker() -> Worker:
    """Return the worker that Ray Train has made this process."""
    import ray.train
    from ray.train.torch import get_device, prepare_model

    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")  # for the order it gives
    wrap = partial(prepare_model, parallel_strategy_kwargs=gradient_sum_settings(world_size))
    local_workers = ray.train.get_context().get_local_world_size()
    return Worker(rank, world_size, get_device(), wrap, _nodes_to_go, local_workers)


def gradient_sum_settings(world_size: int) -> dict[str, bool]:
    """Return DistributedDataParallel's options, so that a resumed run rounds as one that never stopped.

    After its first step, also after the first that follows a restart, it lays gradients out anew, in the order in which
    they came. In which order three addends or more are summed depends on where they lie. If it looks for parameters
    without a gradient, it leaves the others where they are. Two addends have one order.
    """
    return {"find_unused_parameters": world_size > 2}


def _nodes_to_go() -> tuple[str, ...]:
    import ray.train

    info = ray.train.get_preemption_info()
    return () if info is None else tuple(info.preempted_node_ids)
