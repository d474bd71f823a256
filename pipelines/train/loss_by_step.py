"""The objective of a run as it is in a step, where weights or temperatures of the case change with it.

Between two changes it is the objective of a case with constants. Weights are handed to it as a tensor, which a recorded
step reads where it lies; a temperature is a number within each loss, so that from its change on there is another
objective, of the same parts. All of it follows from the step, so there is nothing to keep in a checkpoint.
"""

from bisect import bisect_right
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mtlcore import JointLoss
from pipelines.case.build import weights_at
from pipelines.case.by_step import changes, value_at
from pipelines.case.case import Case
from pipelines.case.training import Matching


class LossByStep:
    """An arm's objective in each step.

    Args:
        case: the case as the arm has it.
        matching: the arm's.
        joint_loss: as :func:`pipelines.case.build.build_loss` has built it of both.
    """

    def __init__(self, case: Case, matching: Matching | Literal["none"], joint_loss: JointLoss) -> None:
        self._case, self._matching = case, matching
        weights = [*case.training.task_weights.values(), *(edge.weight for edge in case.relatedness)]
        self._temperature_steps: list[int] = []
        if isinstance(matching, Matching):
            weights += matching.weights.values()
            self._temperature_steps = changes([matching.dm.tau, matching.sca.tau_co])
        self._weight_steps = changes(weights)
        self._losses = {0: joint_loss}
        self._weights: tuple[int, Tensor] | None = None
        self._compiled = False

    def compile_terms(self) -> None:
        """Have torch.compile fuse the terms of each objective at its first use."""
        for joint_loss in self._losses.values():
            joint_loss.compile_terms()
        self._compiled = True

    def at(self, step: int) -> tuple[JointLoss, Tensor | None]:
        """Return the objective in a step, and the weights of its parts, (parts,) in float64 on the CPU.

        The same objects until something changes; None in the place of weights where they are constants.
        """
        return self._loss_at(step), self._weights_at(step) if self._weight_steps else None

    def _loss_at(self, step: int) -> JointLoss:
        first = self._losses[0]
        phase = bisect_right(self._temperature_steps, step)
        if phase not in self._losses:
            assert isinstance(self._matching, Matching)
            tau, tau_co = value_at(self._matching.dm.tau, step), value_at(self._matching.sca.tau_co, step)
            pairs = [
                replace(pair, dm=replace(pair.dm, tau=tau), sca=replace(pair.sca, tau_co=tau_co))
                for pair in first.pairs
            ]
            joint_loss = JointLoss(first.tasks, pairs, first.task_weights)
            if self._compiled:
                joint_loss.compile_terms()
            # Of those before it the first alone is read again.
            self._losses = {0: first, phase: joint_loss}
        return self._losses[phase]

    def _weights_at(self, step: int) -> Tensor:
        phase = bisect_right(self._weight_steps, step)
        if self._weights is None or self._weights[0] != phase:
            numbers = weights_at(self._case, self._matching, self._losses[0], step)
            self._weights = phase, torch.tensor(numbers, dtype=torch.float64)
        return self._weights[1]
