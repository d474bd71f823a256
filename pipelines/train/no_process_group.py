"""Ray Train's PyTorch backend without a process group, for a single worker."""

from dataclasses import dataclass

from ray.train.backend import Backend
from ray.train.torch import TorchConfig


@dataclass
class NoProcessGroup(TorchConfig):  # type: ignore[misc]
    """A TorchConfig that starts nothing."""

    @property
    def backend_cls(self) -> type[Backend]:
        """Return the backend that does nothing when workers start and end."""
        nothing: type[Backend] = Backend
        return nothing
