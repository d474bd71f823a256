"""Relatedness counted from inputs that are annotated for both tasks, and the reverse of an edge."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Task


@dataclass(frozen=True, eq=False)
class CountedRelatedness:
    """A relatedness that was counted.

    Attributes:
        relatedness: R, unknown where the support is too small.
        support: inputs that a cell was counted from, int64, shape (C, L).
    """

    relatedness: Relatedness
    support: Tensor


def relatedness_from_annotations(
    y_A: Tensor,
    y_B: Tensor,
    source: Multiclass,
    target: Task,
    *,
    a: float = 1.0,
    b: float = 1.0,
    least_support: int = 10,
) -> CountedRelatedness:
    r"""Estimate R from inputs annotated for both tasks.

    .. math:: \hat R[c, l] = \frac{n(c, l) + a}{n(c) + a + b}

    where n(c) counts the inputs of class c for which label l is annotated: the mean of a Beta(a, b) prior's
    posterior. For a multiclass B, every class gets ``a`` (a symmetric Dirichlet prior), so that rows sum to 1.

    Args:
        y_A: labels of A, integer, shape (N,), -1 where not annotated.
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        source: task A.
        target: task B.
        a: prior count of "holds", > 0.
        b: prior count of "does not hold", > 0; takes no part for a multiclass B.
        least_support: a cell counted from fewer inputs is left unknown.

    Raises:
        ValueError: ``a`` or ``b`` is not positive, or the labels are of different lengths.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, relatedness_from_annotations
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> y_A, y_B = torch.tensor([1] * 18 + [0]), torch.tensor([[1]] * 18 + [[0]])
        >>> found = relatedness_from_annotations(y_A, y_B, A, B)
        >>> found.relatedness.table.flatten(), found.support.flatten()
        (tensor([   nan, 0.9500], dtype=torch.float64), tensor([ 1, 18]))
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"a, b: found {a}, {b}; prior counts are positive")
    if len(y_A) != len(y_B):
        raise ValueError(f"y_A has {len(y_A)} inputs, y_B {len(y_B)}; the same inputs in the same order are right")
    of_class = torch.nn.functional.one_hot(y_A.long() + 1, len(source.outputs) + 1)[:, 1:].double()  # (N, C)
    if isinstance(target, Multiclass):
        holds = torch.nn.functional.one_hot(y_B.long() + 1, len(target.outputs) + 1)[:, 1:].double()
        annotated = (y_B != MISSING).double()[:, None].expand_as(holds)
        prior = a * len(target.outputs)
    else:
        holds = (y_B == 1).double()
        annotated = (y_B != MISSING).double()
        prior = a + b
    support = of_class.t() @ annotated
    table = (of_class.t() @ holds + a) / (support + prior)
    table = table.masked_fill(support < least_support, torch.nan)
    return CountedRelatedness(Relatedness(source, target, table), support.long())


def reversed_relatedness(relatedness: Relatedness, prior: Tensor) -> Relatedness:
    r"""Turn an edge between two multiclass tasks round by Bayes' rule.

    .. math:: R'[k, c] = \frac{\pi[c] \, R[c, k]}{\sum_{c'} \pi[c'] \, R[c', k]}

    Args:
        relatedness: R of A to a multiclass B, every row known.
        prior: A's class prior, shape (C,), >= 0; need not sum to 1.

    Returns:
        R' of B to A; the row of a class that no class of A leads to is unknown.

    Raises:
        ValueError: B is multilabel, a row of R is unknown, or the prior is not one number >= 0 a class.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Relatedness, reversed_relatedness
        >>> fine, coarse = Multiclass("fine", ("fuji", "gala", "milk")), Multiclass("coarse", ("apple", "dairy"))
        >>> R = Relatedness.from_rows(fine, coarse, {"fuji": "apple", "gala": "apple", "milk": "dairy"})
        >>> reversed_relatedness(R, torch.tensor([0.1, 0.3, 0.6])).table[0]
        tensor([0.2500, 0.7500, 0.0000], dtype=torch.float64)
    """
    if not isinstance(relatedness.target, Multiclass):
        raise ValueError(f"{relatedness}: the target is multilabel; Bayes' rule turns round an edge to classes alone")
    if relatedness.table.isnan().any():
        raise ValueError(f"{relatedness}: a row is unknown; every row has to be known to turn the edge round")
    if prior.shape != (len(relatedness.source.outputs),) or not bool((prior >= 0).all()):
        raise ValueError(f"prior: found {prior.tolist()}; one number >= 0 a class of {relatedness.source.name!r}")
    joint = (prior.double()[:, None] * relatedness.table).t()  # (K, C)
    total = joint.sum(dim=1, keepdim=True)
    return Relatedness(relatedness.target, relatedness.source, torch.where(total > 0, joint / total, torch.nan))
