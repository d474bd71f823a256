"""Mixup labels for tasks whose annotations may be missing."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.losses.loss_term import LossTerm
from mtlcore.tasks import MISSING, is_annotated


@dataclass(frozen=True, eq=False)
class MixedLabels:
    r"""The labels of the partners x' that a batch was blended with, :math:`\lambda x + (1 - \lambda) x'`.

    Every loss that reads labels, supervised, co-annotation or implied-label likelihood, is a cross-entropy: linear in
    its target, and the target of a blend is the blend of the two: :math:`\lambda \ell(y) + (1 - \lambda) \ell(y')`.
    That is how :class:`mtlcore.JointLoss` takes it; of numbers, the blend of two squared errors has the gradient of the
    squared error to the blended number. An entry counts where both inputs are annotated: with one of the
    labels unknown, so is the blend's. Distribution matching reads no labels, and a blend is an input as any other.
    H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.

    Attributes:
        labels: by task, of the partners, as :mod:`mtlcore.tasks` says.
        own: lambda, in [0, 1], how much of an input is its own.

    Example:
        >>> import torch
        >>> from mtlcore import JointLoss, MixedLabels, Multiclass
        >>> joint = JointLoss([Multiclass("species", ("cat", "crow"))])
        >>> logits = {"species": torch.tensor([[0.0, 0.0], [2.0, 0.0]])}
        >>> labels, partners = {"species": torch.tensor([0, 1])}, {"species": torch.tensor([1, -1])}
        >>> joint(logits, labels, mixed=MixedLabels(partners, own=0.7)).loss  # the first input alone
        tensor(0.6931)
    """

    labels: Mapping[str, Tensor]
    own: float | Tensor

    def to(self, device: torch.device) -> "MixedLabels":
        """Return the same on a device."""
        return MixedLabels({name: y.to(device, non_blocking=True) for name, y in self.labels.items()}, self.own)


def where_both(y: Tensor, y_partner: Tensor) -> tuple[Tensor, Tensor]:
    """Return two tensors of labels of one shape, each missing where the other is."""
    # As if neither were annotated: half a target would teach that the other half is nothing.
    unknown = ~(is_annotated(y) & is_annotated(y_partner))
    missing = float("nan") if y.is_floating_point() else MISSING
    return y.masked_fill(unknown, missing), y_partner.masked_fill(unknown, missing)


def blended(term: LossTerm, of_partner: LossTerm, lam: float | Tensor) -> LossTerm:
    """Return lambda of one loss and 1 - lambda of another."""
    return LossTerm(lam * term.total + (1 - lam) * of_partner.total, lam * term.count + (1 - lam) * of_partner.count)
