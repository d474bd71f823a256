"""The base class of trunks: features per task, and which parameters each task uses."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from torch import Tensor, nn


class TaskTrunk(nn.Module, ABC):
    """A backbone that gives every task features of its own, from one pass of the mixed batch.

    Attributes:
        task_names: the tasks that it serves.
        features: the number of features of each task.
    """

    def __init__(self, task_names: Sequence[str], features: int) -> None:
        super().__init__()
        self.task_names = tuple(task_names)
        self.features = features

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return each task's features, shape (N, features)."""

    @abstractmethod
    def used_by(self, task: str) -> Iterable[nn.Parameter]:
        """Return the parameters that the task's features depend on."""

    @abstractmethod
    def keep(self, task_names: Sequence[str]) -> None:
        """Drop what only other tasks use; the features of those kept stay as they are."""
