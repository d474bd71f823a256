"""The protocol of a loss of related pairs beside DM, SCA and ILL."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm
from mtlcore.losses.mixup import MixedLabels, blended, where_both
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Task


class PairLoss(Protocol):
    """A loss of a pair of related tasks A and B: any callable with these arguments, and options by keyword.

    It is a sum over this worker's inputs and what the sum over the whole batch is divided by: so it takes part on any
    number of workers, and however small a part of the batch is. **The count must depend on labels and trust alone,
    never on logits**: it is summed over all workers beside the forward pass, with logits of zeros.
    """

    def __call__(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        relatedness: Relatedness,
        trust: Tensor | None,
        **options: Any,
    ) -> LossTerm:
        """Return the loss of this worker's inputs.

        Args:
            logits: of A and of B by task name, float32, shape (N, outputs of the task), with gradient.
            labels: of A and of B by task name, integer, shape (N,) or (N, L); -1 where not annotated.
            relatedness: A is ``relatedness.source``, B ``relatedness.target``; ``table`` is R, NaN where unknown.
            trust: of each row of R, shape (C,), in [0, 1]; None: 1 everywhere.
            options: of the case file's ``options``.

        Returns:
            the summed loss, in the graph also where nothing counts, and its count.
        """
        ...


@dataclass(frozen=True)
class AddedPairLoss:
    """A pair loss with its name and weight; its part is called ``name:A->B``.

    Example:
        >>> def confidence(logits, labels, relatedness, trust, power=2.0):
        ...     p = logits[relatedness.source.name].softmax(dim=1)
        ...     return LossTerm(-(p**power).sum(), torch.tensor(float(len(p))))
        >>> AddedPairLoss("confidence", 0.1, confidence, {"power": 3.0}).weight
        0.1
    """

    name: str
    weight: float
    loss: PairLoss
    options: Mapping[str, Any] = field(default_factory=dict)

    def term(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        relatedness: Relatedness,
        trust: Tensor | None,
        mixed: MixedLabels | None,
    ) -> LossTerm:
        """Return the loss; of blended inputs, the blend of the losses of both inputs' labels.

        Raises:
            ValueError: the loss returns no :class:`LossTerm`.
        """
        ends = (relatedness.source.name, relatedness.target.name)
        # Whatever the precision of training: somebody's loss need not know of autocast.
        z = {name: logits[name].float() for name in ends}
        if mixed is None:
            return self._term(z, {name: labels[name] for name in ends}, relatedness, trust)
        pairs = {name: where_both(labels[name], mixed.labels[name]) for name in ends}
        own_labels, partner_labels = ({name: pair[i] for name, pair in pairs.items()} for i in (0, 1))
        return blended(
            self._term(z, own_labels, relatedness, trust), self._term(z, partner_labels, relatedness, trust), mixed.own
        )

    def _term(
        self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor], relatedness: Relatedness, trust: Tensor | None
    ) -> LossTerm:
        term = self.loss(logits, labels, relatedness, trust, **self.options)
        if not isinstance(term, LossTerm):
            raise ValueError(f"{self.name}: the loss returned {type(term).__name__}; expected an mtlcore.LossTerm")
        return term


def check_pair_loss(added: AddedPairLoss, relatedness: Relatedness) -> None:
    """Try a pair loss on a few inputs, annotated for A, for B, for both and for neither.

    Raises:
        ValueError: it fails, does not return a :class:`LossTerm`, its sum is not finite or not in the graph, or its
            count depends on the logits.
    """
    tasks: tuple[Task, Task] = (relatedness.source, relatedness.target)
    generator = torch.Generator().manual_seed(0)
    labels = {}
    for number, task in enumerate(tasks, start=1):
        annotated = torch.arange(8) // number % 2 == 0
        if isinstance(task, Multiclass):
            labels[task.name] = torch.where(annotated, torch.arange(8) % len(task.outputs), -1)
        else:
            holds = torch.arange(8 * len(task.outputs)).reshape(8, -1) % 2
            labels[task.name] = torch.where(annotated[:, None], holds, -1)

    def term_of(scale: float) -> LossTerm:
        logits = {
            task.name: (scale * torch.randn(8, len(task.outputs), generator=generator)).requires_grad_()
            for task in tasks
        }
        try:
            return added.term(logits, labels, relatedness, None, None)
        except ValueError:
            raise
        except Exception as error:  # user code may raise anything
            raise ValueError(f"{added.name}: the loss failed: {type(error).__name__}: {error}") from error

    # The count is taken beside the forward pass with logits of zeros: it has to be the same with real ones.
    nothing, something = term_of(0.0), term_of(3.0)
    if something.total.dim() or something.count.dim() or not torch.isfinite(something.total):
        raise ValueError(f"{added.name}: the loss returned {something}; expected two scalars, the sum finite")
    if not something.total.requires_grad or something.count.requires_grad:
        raise ValueError(f"{added.name}: expected a sum with a gradient to the logits, and a count without one")
    if float(nothing.count) != float(something.count):
        raise ValueError(
            f"{added.name}: the count is {float(nothing.count):g} with some logits and {float(something.count):g} with "
            "others; expected one that depends on labels and trust alone"
        )
