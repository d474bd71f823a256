"""The base class of balancing methods: turn several objectives into one gradient, and save its own state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from mtlcore.losses.joint_loss import JointLossValue


class Balancer(ABC):
    """Turns the objectives of a step into the gradients of a step.

    An objective is a task's supervised loss with its weight alpha_t, or ``matching``: the weighted sum of all
    losses of related pairs (DM, SCA, ILL). Those teach several heads at once and so belong to no single task; their
    weights among each other (lambda) stay what the user chose.

    Call :meth:`backward` where a plain loop calls ``value.loss.backward()``, outside autocast as usual, on every
    worker. After it, the gradients that DistributedDataParallel leaves in ``.grad`` are those of the global batch,
    the same on any number of workers.

    A method of one's own is a subclass (of :class:`WeightedLosses` where it weighs losses by numbers); its constructor
    takes the objectives' names and its options by keyword, or it overrides :meth:`build`.

    Attributes:
        objectives: their names, in order.
        in_pieces: whether ``backward`` may be called with one piece of the batch after another.
        in_shards: whether it can do where each worker has a part of every parameter: it looks at no gradient.
        reads_progress: whether it compares an objective's loss with earlier ones, or with other objectives', so that
            a weight which changes on the way would look like progress, or be undone.
    """

    in_pieces: ClassVar[bool] = False
    in_shards: ClassVar[bool] = False
    reads_progress: ClassVar[bool] = False

    @classmethod
    def build(
        cls, objectives: Sequence[str], shared: Sequence[Tensor], others: Sequence[Tensor], *, seed: int, **options: Any
    ) -> "Balancer":
        """Build the method for a network; :func:`build_balancer` calls it.

        Args:
            objectives: their names.
            shared: the parameters that all objectives share.
            others: all other parameters that are trained.
            seed: of what is drawn at random; the same on all workers.
            options: of the method.
        """
        return cls(objectives, **options)

    def __init__(self, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)

    @abstractmethod
    def backward(self, value: JointLossValue) -> None:
        """Add the step's gradients to ``.grad``, and take this step into account in the next.

        Raises:
            ValueError: the value's objectives are not this balancer's.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on: plain tensors, the same on all workers."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned.

        Raises:
            ValueError: it is the state of another method or of other objectives.
        """
        self._check_state({}, state)

    def _check_objectives(self, value: JointLossValue) -> None:
        if tuple(value.objectives) != self.objectives:
            raise ValueError(
                f"objectives: found {', '.join(value.objectives)}; this balancer was built for "
                f"{', '.join(self.objectives)}"
            )

    def _check_state(self, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        found_shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        if shapes != found_shapes:
            raise ValueError(f"state: found {found_shapes}; expected {shapes} for {type(self).__name__}")
