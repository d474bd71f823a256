"""Learning to branch: tasks choose, stage by stage, whose column they continue."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlcore.networks.cross_stitch import CrossStitch

_COOLEST = 0.1  # below it a softmax is all but a choice, and its gradient all but 0


class LearnedBranching(CrossStitch):
    r"""One column per task, each a copy of the backbone; after every stage each task chooses which column it continues.

    .. math:: \tilde x_t = \sum_s w_{ts} \, x_s, \qquad w_t = \mathrm{softmax}((\alpha_t + g) / \tau)

    with g Gumbel noise while training (P. Guo, C.-Y. Lee, D. Ulbricht, "Learning to Branch for Multi-Task Learning",
    ICML 2020). tau cools from 1 to 0.1 over ``cooling_steps`` passes, so that in the end each task has one path, and
    tasks that chose the same one share it. The noise is a function of the number of training passes alone: the same on
    all workers, and after resuming. It costs a pass through a backbone for every task, and the memory of as many.

    Args:
        backbone: maps (N, ...) to (N, features).
        features: the number of features.
        task_names: the tasks.
        cooling_steps: after how many passes tau is 0.1.

    Example:
        >>> import torch
        >>> from mtlcore import LearnedBranching, Multiclass, MultiTaskNetwork, mlp
        >>> tasks = [Multiclass("digit", ("zero", "one")), Multiclass("colour", ("red", "green"))]
        >>> trunk = LearnedBranching(*mlp((8,), hidden=(16,)), ["digit", "colour"])
        >>> sorted(MultiTaskNetwork(trunk, trunk.features, tasks)(torch.zeros(3, 8)))
        ['colour', 'digit']
    """

    passes: Tensor

    def __init__(
        self, backbone: nn.Module, features: int, task_names: Sequence[str], *, cooling_steps: int = 1000
    ) -> None:
        if cooling_steps < 1:
            raise ValueError(f"sharing.cooling_steps: found {cooling_steps}; expected at least 1")
        super().__init__(backbone, features, task_names, own=1.0)
        self.cooling_steps = cooling_steps
        for unit in self.units:
            nn.init.zeros_(unit)
        # Counts training passes; in a checkpoint like all buffers, so that a resumed run draws as it would have.
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))

    def mixing(self) -> list[Tensor]:
        """Return the weights of every unit, (tasks, tasks); in training they count as one pass."""
        done = int(self.passes)
        temperature = _COOLEST ** min(1.0, done / self.cooling_steps)
        generator = torch.Generator().manual_seed(done)
        weights = []
        for unit in self.units:
            logits = unit
            if self.training:
                uniform = torch.rand(unit.shape, generator=generator).clamp(1e-6, 1 - 1e-6)
                logits = unit - (-uniform.log()).log().to(unit)
            weights.append(torch.softmax(logits / temperature, dim=1))
        if self.training:
            self.passes += 1
        return weights
