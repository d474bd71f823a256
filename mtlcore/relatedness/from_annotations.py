"""Relatedness counted from inputs annotated for both tasks, with or without a prior table."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.relatedness.wilson import wilson_interval
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task


def relatedness_from_annotations(
    y_A: Tensor,
    y_B: Tensor,
    source: Task,
    target: Task,
    *,
    a: float = 1.0,
    b: float = 1.0,
    least_support: int = 10,
    prior: Relatedness | None = None,
    strength: float | Tensor = 0.0,
    confidence: float = 0.95,
) -> Relatedness:
    r"""Estimate R from inputs annotated for both tasks, any kind to any kind.

    .. math:: \hat R[c, l] = \frac{n(c, l) + a + s \, R_0[c, l]}{n(c) + a + b + s}

    where n(c) counts the inputs of class c (or on which label c holds) for which label l is annotated: the mean of the
    posterior of a Beta(a, b) prior, to which a table R_0 adds s pseudo-counts. For a multiclass B, every class gets
    ``a`` (a symmetric Dirichlet prior), so that rows sum to 1. Strength 0 is the data alone, infinite the table alone;
    cells that R_0 does not know are the data's alone.

    For a multilabel A, ``base`` is counted too, with a and b alone: for a multilabel B the share of inputs that have
    the label among those annotated for all of A's labels of which none holds (as R_0 has it, else 0, where there are
    too few); for a multiclass B the shares of its classes.

    Args:
        y_A: labels of A, integer, shape (N,) or (N, K), -1 where not annotated.
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        source: task A.
        target: task B.
        a: prior count of "holds", > 0.
        b: prior count of "does not hold", > 0; takes no part for a multiclass B.
        least_support: a cell counted from fewer inputs is left unknown, unless R_0 knows it with a strength above 0.
        prior: R_0, of the same two tasks.
        strength: s, >= 0, of all rows or a tensor of shape (K,), one per row.
        confidence: of every cell's interval (Wilson's, with the pseudo-counts), in (0, 1).

    Returns:
        R with its support and an interval for every known cell.

    Raises:
        ValueError: ``a``, ``b`` or ``strength`` is out of range, the labels are not those of the tasks or of
            different lengths, or the prior relates other tasks.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, relatedness_from_annotations
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> y_A, y_B = torch.tensor([1] * 18 + [0]), torch.tensor([[1]] * 18 + [[0]])
        >>> found = relatedness_from_annotations(y_A, y_B, A, B)
        >>> found.table.flatten(), found.support.flatten()
        (tensor([   nan, 0.9500], dtype=torch.float64), tensor([ 1, 18]))
    """
    counts = count_annotations(y_A, y_B, source, target)
    return relatedness_from_counts(
        counts, source, target, a=a, b=b, least_support=least_support, prior=prior, strength=strength,
        confidence=confidence,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class AnnotationCounts:
    """Sums over inputs from which R is estimated, float64; those of parts add up to those of the whole.

    Attributes:
        support: inputs of class c (or with label c) that are annotated for label l, shape (C, L).
        holds: those of them for which l holds, shape (C, L).
        base_support: inputs that the base is counted from, annotated for l, shape (L,).
        base_holds: those of them for which l holds, shape (L,).
    """

    support: Tensor
    holds: Tensor
    base_support: Tensor
    base_holds: Tensor

    def __add__(self, other: "AnnotationCounts") -> "AnnotationCounts":
        return AnnotationCounts(
            self.support + other.support,
            self.holds + other.holds,
            self.base_support + other.base_support,
            self.base_holds + other.base_holds,
        )


def count_annotations(y_A: Tensor, y_B: Tensor, source: Task, target: Task) -> AnnotationCounts:
    """Count what R is estimated from, so that labels that do not fit memory can be counted part by part.

    Args:
        y_A: labels of A, integer, shape (N,) or (N, K), -1 where not annotated.
        y_B: labels of B, integer, shape (N, L) or (N,), -1 where not annotated.
        source: task A.
        target: task B.

    Raises:
        ValueError: the labels are not those of the tasks, or of different lengths.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, count_annotations
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> parts = [(torch.tensor([1, 0]), torch.tensor([[1], [-1]])), (torch.tensor([1]), torch.tensor([[0]]))]
        >>> first, second = (count_annotations(y_A, y_B, A, B) for y_A, y_B in parts)
        >>> (first + second).support.flatten()
        tensor([0., 2.], dtype=torch.float64)
    """
    if len(y_A) != len(y_B):
        raise ValueError(f"y_A has {len(y_A)} inputs, y_B {len(y_B)}; expected the same inputs in the same order")
    _check_labels("y_A", y_A, source)
    _check_labels("y_B", y_B, target)
    of_A, _ = indicators(y_A, source)
    holds, annotated = indicators(y_B, target)
    # Of a multilabel A the base is what holds where none of its labels does; of a multiclass B, its classes' shares.
    if isinstance(source, Multilabel) and isinstance(target, Multilabel):
        of_base = (y_A == 0).all(dim=1).double()
    else:
        of_base = torch.ones(len(y_B), dtype=torch.float64)
    return AnnotationCounts(of_A.t() @ annotated, of_A.t() @ holds, of_base @ annotated, of_base @ holds)


def relatedness_from_counts(
    counts: AnnotationCounts,
    source: Task,
    target: Task,
    *,
    a: float = 1.0,
    b: float = 1.0,
    least_support: int = 10,
    prior: Relatedness | None = None,
    strength: float | Tensor = 0.0,
    confidence: float = 0.95,
) -> Relatedness:
    """Estimate R as :func:`relatedness_from_annotations` does, from counts of :func:`count_annotations`.

    Raises:
        ValueError: ``a``, ``b`` or ``strength`` is out of range, or the prior relates other tasks.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, count_annotations, relatedness_from_counts
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> counts = count_annotations(torch.tensor([1] * 18), torch.tensor([[1]] * 18), A, B)
        >>> relatedness_from_counts(counts, A, B).table.flatten()
        tensor([   nan, 0.9500], dtype=torch.float64)
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"a, b: found {a}, {b}; prior counts are positive")
    support = counts.support
    pseudo = a * len(target.outputs) if isinstance(target, Multiclass) else a + b
    counted = (counts.holds + a) / (support + pseudo)
    counted, weight = counted.masked_fill(support < least_support, torch.nan), support + pseudo
    if prior is not None:
        counted, weight = _on_top_of(prior, strength, counted, weight, source, target)
    interval = wilson_interval(counted, weight, confidence)
    provenance = f"counted from {int(support.sum(dim=0).max()) if support.numel() else 0} inputs annotated for both"
    if prior is not None:
        provenance += f", on top of: {prior.provenance or 'a table'}"
    return Relatedness(
        source, target, counted, _base(counts, source, target, prior, a, b, least_support), support.long(), interval,
        provenance,
    )  # fmt: skip


def indicators(y: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return which outputs hold, and which are annotated, both float64, shape (N, outputs)."""
    if isinstance(task, Multiclass):
        holds = torch.nn.functional.one_hot(y.long() + 1, len(task.outputs) + 1)[:, 1:].double()
        return holds, (y != MISSING).double()[:, None].expand_as(holds)
    return (y == 1).double(), (y != MISSING).double()


def _check_labels(what: str, y: Tensor, task: Task) -> None:
    outputs = len(task.outputs)
    shape, bound = ((len(y),), outputs) if isinstance(task, Multiclass) else ((len(y), outputs), 2)
    if tuple(y.shape) != shape:
        raise ValueError(f"{what}: found labels of shape {tuple(y.shape)}; expected {shape} for task {task.name!r}")
    if y.numel() and not -1 <= y.min() <= y.max() < bound:
        worst = int(y.max() if y.max() >= bound else y.min())
        raise ValueError(f"{what}: found the label {worst}; a label of task {task.name!r} lies in [-1, {bound})")


def _on_top_of(
    prior: Relatedness, strength: float | Tensor, counted: Tensor, weight: Tensor, source: Task, target: Task
) -> tuple[Tensor, Tensor]:
    """Return the posterior mean of every cell and the count it stands for."""
    if (prior.source, prior.target) != (source, target):
        raise ValueError(f"prior: found {prior.edge}; expected relatedness {source.name} -> {target.name} of these")
    s = torch.as_tensor(strength, dtype=torch.float64)
    if s.ndim > 1 or (s.ndim == 1 and len(s) != len(source.outputs)) or not bool((s >= 0).all()):
        raise ValueError(f"strength: found {s.tolist()}; expected one number >= 0, or one per row of {source.name!r}")
    s = s.reshape(-1, 1).expand_as(counted)
    known, enough = ~prior.table.isnan() & (s > 0), ~counted.isnan()
    of_data = torch.where(enough, weight, torch.zeros_like(weight))
    share = torch.where(torch.isinf(s), torch.ones_like(s), s / (s + of_data).clamp(min=1e-300))
    mixed = share * prior.table.nan_to_num(0.0) + (1 - share) * counted.nan_to_num(0.0)
    return torch.where(known, mixed, counted), torch.where(known, s + of_data, weight)


def _base(
    counts: AnnotationCounts, source: Task, target: Task, prior: Relatedness | None, a: float, b: float, least: int
) -> Tensor | None:
    if not isinstance(source, Multilabel):
        return None
    holds, support = counts.base_holds, counts.base_support
    if isinstance(target, Multiclass):
        return (holds + a) / (support[0] + a * len(target.outputs))
    otherwise = torch.zeros_like(support) if prior is None or prior.base is None else prior.base.double()
    return torch.where(support >= least, (holds + a) / (support + a + b), otherwise)
