"""Reverse a relatedness edge by Bayes' rule, between any two kinds of tasks."""

import torch
from torch import Tensor

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel, Task


def reversed_relatedness(relatedness: Relatedness, prior: Tensor, target_prior: Tensor | None = None) -> Relatedness:
    r"""Turn an edge round by Bayes' rule.

    .. math:: R'[l, k] = \frac{\pi_A[k] \, R[k, l]}{\pi_B[l]}

    For a multiclass A, :math:`\pi_B[l] = \sum_k \pi_A[k] R[k, l]`, and a row of R' is a distribution over A's classes.
    For a multilabel A the labels overlap, so B's prior has to be given, and a cell is clipped to 1 (a table and priors
    that a person wrote need not be consistent).

    Args:
        relatedness: R of A to B. For a multiclass A every cell has to be known; for a multilabel A an unknown cell
            stays unknown.
        prior: A's: a multiclass A's class prior, shape (K,), >= 0, need not sum to 1; a multilabel A's P(k holds),
            in [0, 1].
        target_prior: B's: P(l), shape (L,), in [0, 1]. Needed for a multilabel A; for a multiclass A it follows from
            the others and is not taken.

    Returns:
        R' of B to A; the row of an output whose prior is 0 is unknown. Where B is multilabel, ``base`` is A's class
        prior if A is multiclass.

    Raises:
        ValueError: a row of R is unknown, a prior is missing or out of range, or both tasks make the reverse no
            distribution; names what.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Relatedness, reversed_relatedness
        >>> fine, coarse = Multiclass("fine", ("fuji", "gala", "milk")), Multiclass("coarse", ("apple", "dairy"))
        >>> R = Relatedness.from_rows(fine, coarse, {"fuji": "apple", "gala": "apple", "milk": "dairy"})
        >>> reversed_relatedness(R, torch.tensor([0.1, 0.3, 0.6])).table[0]
        tensor([0.2500, 0.7500, 0.0000], dtype=torch.float64)
    """
    A, B = relatedness.source, relatedness.target
    pi_A = _checked("prior", prior, A)
    provenance = f"{relatedness.edge} turned round by Bayes' rule"
    joint = (pi_A[:, None] * relatedness.table).t()  # (L, K)
    if isinstance(A, Multiclass):
        if target_prior is not None:
            raise ValueError(f"target_prior: found one; for the multiclass source {A.name!r} it follows from the rest")
        if relatedness.table.isnan().any():
            row = A.outputs[int(relatedness.table.isnan().any(dim=1).nonzero()[0])]
            raise ValueError(
                f"{relatedness.edge}, row {row!r}: some cells are unknown; every cell has to be known to turn it round"
            )
        total = joint.sum(dim=1, keepdim=True)
        table = torch.where(total > 0, joint / total, torch.nan)
        base = pi_A / pi_A.sum() if isinstance(B, Multilabel) else None
        return Relatedness(B, A, table, base, provenance=provenance)
    if target_prior is None:
        raise ValueError(f"target_prior: missing; labels of {A.name!r} overlap, so the prior of {B.name!r} is needed")
    pi_B = _checked("target_prior", target_prior, B)
    table = torch.where(pi_B[:, None] > 0, (joint / pi_B[:, None]).clamp(max=1.0), torch.nan)
    return Relatedness(B, A, table, provenance=provenance)


def _checked(what: str, prior: Tensor, task: Task) -> Tensor:
    is_class_prior = isinstance(task, Multiclass)
    rule = "one number >= 0 a class" if is_class_prior else "one probability a label"
    if prior.shape != (len(task.outputs),):
        raise ValueError(f"{what}: found shape {tuple(prior.shape)}; expected {rule} of {task.name!r}")
    for name, value in zip(task.outputs, prior.tolist(), strict=True):
        if not (value >= 0 and (is_class_prior or value <= 1)):
            raise ValueError(f"{what}: found {value:g} for {name!r}; expected {rule} of {task.name!r}")
    if is_class_prior and not prior.sum() > 0:
        raise ValueError(f"{what}: found zeros alone; expected {rule} of {task.name!r}, not all of them 0")
    return prior.double()
