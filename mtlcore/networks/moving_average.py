"""The moving average of a network's weights: a teacher, and often the better network."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    r"""An exponential moving average of a network's parameters.

    .. math:: \theta'_t = \alpha_t \, \theta'_{t-1} + (1 - \alpha_t) \, \theta_t, \qquad
              \alpha_t = \min(\alpha, \, t / (t + 1))

    A. Tarvainen, H. Valpola, NeurIPS 2017; the smaller weight at first forgets the weights that the network began with.
    Buffers, such as running statistics, are those of the network.

    Args:
        network: what is averaged; copied as it is, so give it as it was built, not compiled or wrapped.
        decay: alpha, in [0, 1).

    Attributes:
        module: the averaged network, in evaluation mode; its parameters want no gradient.

    Example:
        >>> import torch
        >>> from mtlcore import MovingAverage
        >>> network = torch.nn.Linear(1, 1, bias=False)
        >>> average = MovingAverage(network, decay=0.5)
        >>> for step, weight in enumerate([0.0, 2.0, 4.0]):
        ...     _ = network.weight.data.fill_(weight)
        ...     average.update(network, step)
        >>> average.module.weight.item()
        2.5
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay: found {decay}; expected a number in [0, 1)")
        self.module, self.decay = copy.deepcopy(network).eval().requires_grad_(False), decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take a network's weights into account after a step, counted from 0."""
        share = 1 - min(self.decay, step / (step + 1))
        for average, now in zip(self.module.parameters(), network.parameters(), strict=True):
            average.lerp_(now, share)
        for kept, buffer in zip(self.module.buffers(), network.buffers(), strict=True):
            kept.copy_(buffer)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged network's tensors, not copied."""
        return dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned."""
        self.module.load_state_dict(state)
