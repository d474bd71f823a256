"""The workers' process group on the network interface of their nodes' Ray address, and on no other.

torch's store listens on all interfaces of its machine, and Gloo and NCCL choose one by their own rules. A store takes a
socket that is bound already, the libraries an interface's name: GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME, which stay
as they are where somebody has set them.
"""

import os
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist
from ray.train.torch import TorchConfig
from torch.distributed import TCPStore  # type: ignore[attr-defined]

_IFNAME = "GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"
_SIOCGIFADDR = 0x8915  # Linux: the address of an interface
_kept: list[TCPStore] = []  # the first worker's


@dataclass
class NamedInterface(TorchConfig):  # type: ignore[misc]
    """A TorchConfig whose process group listens on one interface."""

    @property
    def backend_cls(self) -> type[Any]:
        """Return the backend that starts the group."""
        return _Backend


class _Backend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        """Have the first worker listen, and all join."""
        import ray

        has_gpus = worker_group.get_resources_per_worker().get("GPU", 0) > 0
        backend = backend_config.backend or ("nccl" if has_gpus else "gloo")
        workers = len(worker_group)
        address, port = worker_group.execute_single(0, listen, workers)
        ray.get(
            [
                worker_group.execute_single_async(
                    rank, join, backend, rank, workers, address, port, backend_config.timeout_s
                )
                for rank in range(workers)
            ]
        )


def listen(workers: int) -> tuple[str, int]:
    """Open the store of a group of workers, on the first of them; return where it listens."""
    address = chosen_address()
    bound = socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    port = int(bound.getsockname()[1])
    store = TCPStore(address, port, workers, is_master=True, wait_for_workers=False, master_listen_fd=bound.detach())
    _kept[:] = [store]
    return address, port


def join(backend: str, rank: int, workers: int, address: str, port: int, timeout_s: float) -> None:
    """Join the group, as a worker of it."""
    if name := interface_of(chosen_address()):
        for variable in _IFNAME:
            # "=": NCCL takes a name for the beginning of names.
            os.environ.setdefault(variable, f"={name}" if variable.startswith("NCCL") else name)
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")  # as Ray Train's own: a collective that hangs ends
    timeout = timedelta(seconds=timeout_s)
    store = _kept[0] if rank == 0 else TCPStore(address, port, workers, is_master=False, timeout=timeout)
    dist.init_process_group(backend, store=store, rank=rank, world_size=workers, timeout=timeout)


def chosen_address() -> str:
    """Return the address to listen on: of the interface that the environment names, else the node's in Ray."""
    import ray

    for variable in _IFNAME:
        name = os.environ.get(variable, "").removeprefix("=").partition(",")[0]
        if name and (address := address_of(name)):
            return address
    return str(ray.util.get_node_ip_address())


def address_of(interface: str) -> str | None:
    """Return an interface's IPv4 address; None where it cannot be told."""
    if not sys.platform.startswith("linux"):
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, suppress(OSError):
        found = fcntl.ioctl(asked.fileno(), _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        return socket.inet_ntoa(found[20:24])
    return None


def interface_of(address: str) -> str | None:
    """Return the name of the interface with an address; None where it cannot be told."""
    if not sys.platform.startswith("linux"):
        return "lo0" if address.startswith("127.") else None
    return next((name for _, name in socket.if_nameindex() if address_of(name) == address), None)
