"""Prepare a network for a run's device and settings (layout, compile, sharding) before its optimiser is built."""

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from mtlcore import MultiTaskNetwork
from pipelines.base.errors import UserError
from pipelines.base.ray_session import is_own_ray
from pipelines.case.case import Case
from pipelines.case.training import Training
from pipelines.train.eval_mode import evaluating
from pipelines.train.sharding import shard
from pipelines.train.worker import Worker


def prepare(
    network: MultiTaskNetwork, shape: tuple[int, ...], training: Training, worker: Worker
) -> tuple[MultiTaskNetwork, bool]:
    """Move a network to a worker's device, lay it out, shard it, and have its backbone compiled at its first use.

    Args:
        network: as it was built.
        shape: of an input.
        training: the settings.
        worker: this one.

    Returns:
        the network, and whether its inputs are to be laid out with channels last.
    """
    channels_last = training.channels_last and _takes_channels_last(network, shape)
    if worker.device.type == "cuda" and worker.world_size > 1:  # a backbone may bring BatchNorm
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    network.to(worker.device)
    if training.shard and worker.world_size > 1:
        shard(network, worker.device)  # which takes no other layout; images laid out so are enough to compute in it
    elif channels_last:
        _lay_out(network, torch.channels_last)
    if training.compile:
        from torch._functorch import config as functorch

        # Measuring how tasks relate, and balancing by gradients, go through one graph several times.
        functorch.donated_buffer = False
        # In place, so that parameters keep their names (Module.compile captures nothing of torch's own containers).
        # Heads are small, and are looked into as they run.
        network.backbone.forward = torch.compile(network.backbone.forward)  # type: ignore[method-assign]
    return network, channels_last


def _takes_channels_last(network: MultiTaskNetwork, shape: tuple[int, ...]) -> bool:
    """Say whether a network works with channels last; one that uses ``view`` after layers of images does not."""
    if len(shape) != 3:
        return False
    _lay_out(network, torch.channels_last)
    try:
        with evaluating(network), torch.no_grad():
            network(torch.zeros(2, *shape).contiguous(memory_format=torch.channels_last))
    except RuntimeError:
        return False
    finally:
        _lay_out(network, torch.contiguous_format)
    return True


def place_beside(copy: nn.Module, device: torch.device, channels_last: bool) -> None:
    """Put a copy of a network, made before :func:`prepare`, where and as the network is."""
    copy.to(device)
    if channels_last:
        _lay_out(copy, torch.channels_last)


def _lay_out(network: nn.Module, memory_format: torch.memory_format) -> None:
    network.to(memory_format=memory_format)  # type: ignore[call-overload]


def check_compiler(case: Case) -> None:
    """Refuse a case that compiles where this machine is the one that trains it and has no compiler.

    Raises:
        UserError: there is none.
    """
    if not case.training.compile or not is_own_ray():
        return
    if case.training.device == "cuda":
        if find_spec("triton") is None:
            raise UserError(
                "training.compile: found true, and triton is not installed here; expected triton installed, or false"
            )
    elif shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        raise UserError(
            f"training.compile: found true, and there is no C++ compiler {compiler!r} here; "
            "expected one (CXX names it), or false"
        )
