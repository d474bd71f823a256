"""The base class of loss weighting methods: one backward pass through a weighted sum of the losses."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from mtlcore.balancing.balancer import Balancer
from mtlcore.distributed import summed_over_workers, world_size
from mtlcore.losses.joint_loss import JointLossValue


class WeightedLosses(Balancer):
    """Weighs each objective by a number that depends on the objectives over the GLOBAL batch alone.

    So all workers find the same weights, and the gradients are reduced as those of any loss are: by
    DistributedDataParallel, during the backward pass. What is learned is updated in closed form from those same
    numbers; nothing of it needs an optimiser, and it drifts on no worker.
    """

    in_shards: ClassVar[bool] = True

    def __init__(self, objectives: Sequence[str], **state: Tensor) -> None:
        super().__init__(objectives)
        self._state = state

    @abstractmethod
    def weigh(self, losses: Tensor, present: Tensor, shares: Tensor) -> Tensor:
        """Return this step's weights, shape (m,), and update the state for the next.

        Args:
            losses: shape (m,), float32, the objectives over the global batch, without graph.
            present: shape (m,), boolean.
            shares: shape (m,), this worker's shares, in the graph.
        """

    def backward(self, value: JointLossValue) -> None:
        """Weigh the objectives and run one backward pass through the sum."""
        self._check_objectives(value)
        shares = torch.stack([objective.share for objective in value.objectives.values()])
        present = torch.stack([objective.present for objective in value.objectives.values()])
        with torch.autocast(shares.device.type, enabled=False):
            # It begins on the CPU, or comes from a checkpoint; from the first step on this moves nothing.
            self._state = {name: tensor.to(shares.device) for name, tensor in self._state.items()}
            losses = summed_over_workers(shares.detach().float().clone())
            weights = self.weigh(losses, present, shares)
            ((weights * shares).sum() * world_size()).backward()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on."""
        return {name: tensor.clone() for name, tensor in self._state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned."""
        self._check_state(self._state, state)
        self._state = {name: state[name].to(own.device, own.dtype).clone() for name, own in self._state.items()}
