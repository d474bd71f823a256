"""Measure head sharing and gradient agreement during training, without changing it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

from torch import Tensor, nn

from mtlcore.diagnostics.gradient_similarity import gradient_agreement
from mtlcore.diagnostics.head_sharing import head_sharing
from mtlcore.losses.supervised import supervised_loss
from mtlcore.tasks import Task


class PairMeasured(NamedTuple):
    """What was measured of two tasks at a step.

    Attributes:
        step: the step, from 0; measured before its update.
        a: a task's name.
        b: the other's.
        head_sharing: see :func:`mtlcore.head_sharing`; in [0, 1] or NaN.
        gradient_agreement: see :func:`mtlcore.gradient_agreement`, of the supervised losses; in [-1, 1] or NaN.
    """

    step: int
    a: str
    b: str
    head_sharing: float
    gradient_agreement: float


class RelatednessProbe:
    """Measure how tasks relate at some steps of a training loop, which continues as if nothing had been measured.

    A measured step costs one backward pass per task; the others cost nothing. One step in 100 costs under 1 % per task.
    With data-parallel workers every worker measures at the same steps, and all get the whole batch's values.

    Args:
        network: the network, also wrapped in DistributedDataParallel. Head sharing needs its heads as a module dict
            ``heads`` with keys ``<task>_head``, as :class:`mtlcore.MultiTaskNetwork` has; without them it is NaN.
        tasks: the tasks that it serves.

    Example:
        >>> import torch
        >>> from mtlcore import JointLoss, MultiTaskNetwork, Multiclass, Multilabel, RelatednessProbe, mlp
        >>> tasks = [Multiclass("digit", ("0", "1", "2")), Multilabel("traits", ("even", "round"))]
        >>> network, joint_loss = MultiTaskNetwork(*mlp((8,), (16,)), tasks), JointLoss(tasks)
        >>> labels = {"digit": torch.tensor([0, 1, -1, -1]), "traits": torch.tensor([[-1, -1]] * 2 + [[1, 1], [0, 0]])}
        >>> probe = RelatednessProbe(network, tasks)
        >>> for step in range(200):
        ...     with probe.reading(step % 200 == 0):
        ...         logits = network(torch.randn(4, 8))
        ...     value = joint_loss(logits, labels)
        ...     probe.measure(step, logits, labels)  # before backward(); only where the step was read
        ...     value.loss.backward()
        >>> [(pair.step, pair.a, pair.b) for pair in probe.measured]
        [(0, 'digit', 'traits')]
        >>> 0 <= probe.measured[0].head_sharing <= 1
        True
    """

    def __init__(self, network: nn.Module, tasks: Sequence[Task]) -> None:
        self.measured: list[PairMeasured] = []
        self._network = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
        self._tasks = tuple(tasks)
        self._head_inputs: dict[str, Tensor] | None = None
        heads = getattr(self._network, "heads", None)
        head_keys = {task.name: f"{task.name}_head" for task in tasks}
        self._heads: dict[str, nn.Module] = (
            {name: heads[key] for name, key in head_keys.items()}
            if isinstance(heads, nn.ModuleDict) and set(head_keys.values()) <= set(heads)
            else {}
        )

    @contextmanager
    def reading(self, active: bool = True) -> Iterator[None]:
        """Note what goes into each head during the forward pass inside; nothing where not ``active``."""
        # Hooks for this one pass: another step pays nothing for being able to be measured.
        if not active or len(self._tasks) < 2:
            yield
            return
        self._head_inputs = {}
        with ExitStack() as hooks:
            for name, head in self._heads.items():
                hook = head.register_forward_pre_hook(partial(_note, self._head_inputs, name))
                hooks.callback(hook.remove)
            yield

    def measure(self, step: int, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Measure the forward pass that was read and add to ``measured``; nothing where none was.

        Args:
            step: the step's number.
            logits: by task, as the network returned them, before ``backward()``.
            labels: by task, as :mod:`mtlcore.tasks` says.
        """
        inputs, self._head_inputs = self._head_inputs, None
        if inputs is None:
            return
        losses = {task.name: supervised_loss(logits[task.name], labels[task.name], task).total for task in self._tasks}
        agreement = gradient_agreement(losses, self._network.parameters())
        names = [task.name for task in self._tasks]
        if set(names) <= set(inputs):
            sharing = head_sharing(self._heads, inputs, self._tasks)
        else:
            sharing = dict.fromkeys(combinations(names, 2), float("nan"))
        self.measured += [PairMeasured(step, a, b, sharing[a, b], agreement[a, b]) for a, b in agreement]


def _note(inputs: dict[str, Tensor], name: str, _: nn.Module, head_input: tuple[Any, ...]) -> None:
    inputs[name] = head_input[0]
