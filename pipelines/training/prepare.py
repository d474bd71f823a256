"""A network made ready for the device and the settings of a run, before its optimiser is built."""

import os
import shutil
from importlib.util import find_spec

import torch
from torch import nn

from mtlcore import MultiTaskNetwork
from pipelines.case import Case
from pipelines.case_training import Training
from pipelines.errors import UserError
from pipelines.training.shards import shard
from pipelines.training.worker import Worker


def prepare(network: MultiTaskNetwork, training: Training, worker: Worker) -> MultiTaskNetwork:
    """Move a network to a worker's device, lay it out, shard it, and have its backbone compiled at its first use."""
    if worker.device.type == "cuda" and worker.world_size > 1:  # a backbone may bring BatchNorm
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    network.to(worker.device)
    if training.shard and worker.world_size > 1:
        shard(network, worker.device)  # which takes no other layout; pictures laid out so are enough to compute in it
    elif training.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if training.compile:
        from torch._functorch import config as functorch

        # Measuring how tasks relate, and balancing by gradients, go through one graph several times.
        functorch.donated_buffer = False
        # In place, so that parameters keep their names (Module.compile captures nothing of torch's own containers).
        # Heads are small, and are looked into as they run.
        network.backbone.forward = torch.compile(network.backbone.forward)  # type: ignore[method-assign]
    return network


def check_compiler(case: Case) -> None:
    """Refuse a case that compiles where this machine is the one that trains it and has no compiler.

    Raises:
        UserError: there is none.
    """
    if not case.training.compile or "RAY_ADDRESS" in os.environ:
        return
    if case.training.device == "cuda":
        if find_spec("triton") is None:
            raise UserError("training.compile: found true, and triton is not installed here; false does without")
    elif shutil.which(compiler := os.environ.get("CXX", "g++")) is None:
        raise UserError(
            f"training.compile: found true, and there is no C++ compiler {compiler!r} here (CXX names another); "
            "false does without"
        )
