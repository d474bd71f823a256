"""Parameter sharding over workers (FSDP2), and gathering the full state for checkpoints.

Y. Zhao et al., "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel", VLDB 2023; the second version of
it, :func:`torch.distributed.fsdp.fully_shard`, which keeps parameters as DTensors with the names they had. Gradients
are averaged over workers as DistributedDataParallel does, so a run may be resumed with or without it.
"""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtlcore import MultiTaskNetwork

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def shard(network: MultiTaskNetwork, device: torch.device) -> None:
    """Leave each worker with its part of every parameter; all must call it, with the same network."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for layer in layers(network.backbone):
        fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)


def layers(backbone: nn.Module) -> list[nn.Module]:
    """Return what is made whole at once: the parts of the outermost lists and sequences of modules."""
    if isinstance(backbone, nn.ModuleList | nn.Sequential):
        modules = []
        for child in backbone:
            nested = layers(child)
            modules += nested or ([child] if any(True for _ in child.parameters()) else [])
        return modules
    return [layer for child in backbone.children() for layer in layers(child)]


def is_sharded(network: nn.Module) -> bool:
    """Say whether each worker keeps its part alone; also while a pass has some of it put together."""
    # A network is made one of these when it is sharded; where nobody has imported them, nothing is.
    fsdp_module = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    return fsdp_module is not None and isinstance(network, fsdp_module)


def share_buffers(network: nn.Module) -> None:
    """Give all workers the first one's buffers (running statistics), as a checkpoint would; all must call it.

    DistributedDataParallel does so in every step; sharded workers would each be validated with their own.
    """
    for buffer in network.buffers():
        dist.broadcast(buffer, src=0)


def gather_full(tensor: Tensor) -> Tensor:
    """Return a tensor with all its parts; of a sharded one all workers must ask."""
    return tensor.full_tensor() if _is_part(tensor) else tensor


def reshard(value: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor as this worker keeps such ones: its part alone, on the same device, in the same layout."""
    if value.shape != like.shape:
        return value
    if _is_part(like):
        from torch.distributed.tensor import distribute_tensor

        # Every worker has read the same file: none needs another's word for it.
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
    return torch.empty_like(like, dtype=value.dtype).copy_(value)


def reshard_all(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors by name as :func:`reshard` does; one that has no like stays as it is."""
    return {name: reshard(value, like[name]) if name in like else value for name, value in values.items()}


def _is_part(tensor: Tensor) -> "TypeGuard[DTensor]":
    # Half a second to import, in each of a run's processes; where nobody has, nothing is sharded.
    dtensor = getattr(sys.modules.get("torch.distributed.tensor"), "DTensor", None)
    return dtensor is not None and isinstance(tensor, dtensor)
