"""Relatedness of tasks with disjoint datasets: each task's network labels the other task's inputs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.relatedness.from_annotations import indicators
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.relatedness.wilson import wilson_interval
from mtlcore.tasks import Multiclass, Task

_ITERATIONS = 300
_NEXT_TO_NOTHING = 1e-9
_AT_ONCE = 1 << 22  # entries of the replicates that are corrected together


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A network's predictions on annotated inputs that it was not trained on: what its errors are learned from.

    Attributes:
        p: probabilities, floating point, shape (M, outputs).
        y: labels, integer, shape (M,) or (M, outputs), -1 where not annotated.
    """

    p: Tensor
    y: Tensor


def relatedness_from_predictions(
    source: Task,
    target: Task,
    *,
    p_A: Tensor | None = None,
    y_B: Tensor | None = None,
    y_A: Tensor | None = None,
    p_B: Tensor | None = None,
    held_out_A: HeldOut | None = None,
    held_out_B: HeldOut | None = None,
    least_support: float = 10.0,
    replicates: int = 200,
    confidence: float = 0.95,
    seed: int = 0,
) -> Relatedness:
    r"""Estimate R with neither prior knowledge nor inputs annotated for both tasks.

    Two ways, either or both. A's network predicts the inputs that are annotated for B:

    .. math:: \hat R[c, l] = \sum_n p_A[n, c] \, y_B[n, l] \; / \; \sum_n p_A[n, c]

    and B's network predicts the inputs of class c of A: :math:`\hat R[c, l]` is the mean of p_B[n, l] over them. These
    soft counts are drawn towards the base rate by the networks' errors. Where predictions on held-out annotated inputs
    are given, they are corrected: with M[i, j] the mean predicted probability of j where i is true, counts o that were
    observed come from true counts P by :math:`o = M^T P`, which is solved for P >= 0 of the least Kullback-Leibler
    divergence (by EM). For a label that holds or not this is the estimator of W. J. Rogan and B. Gladen, "Estimating
    prevalence from the results of a screening test", American Journal of Epidemiology 1978,
    (r + specificity - 1) / (sensitivity + specificity - 1), where that lies in [0, 1].

    Assumes that a network errs alike on both datasets, and, given the true output of its own task, independently of
    the other task's: so where a label depends on the class alone the first way is correct, and where a class's inputs
    with and without a label are equally hard the second is. The two are weighed by the inverse of their variances.

    Args:
        source: task A.
        target: task B.
        p_A: A's network's probabilities on the inputs of y_B, shape (N_B, K).
        y_B: labels of B, shape (N_B,) or (N_B, L), -1 where not annotated.
        y_A: labels of A, shape (N_A,) or (N_A, K), -1 where not annotated.
        p_B: B's network's probabilities on the inputs of y_A, shape (N_A, L).
        held_out_A: of A's network; None leaves p_A's counts uncorrected.
        held_out_B: of B's network; None leaves p_B's counts uncorrected.
        least_support: a row counted from fewer (soft) inputs is left unknown.
        replicates: of the bootstrap over inputs, the held-out ones too.
        confidence: of the intervals, in (0, 1).
        seed: of the bootstrap's own generator.

    Returns:
        R with the soft support of every cell and its interval: the bootstrap's percentiles, no narrower than Wilson's
        interval of the support; with two ways, from the lower low to the higher high end, so that where they disagree
        it is wide. A cell that no corrected way reaches has no interval (NaN): what errors have done to its count is
        not known, and an interval about it would not hold. Where a corrected way reaches a cell, an uncorrected one
        takes no part in it.

    Raises:
        ValueError: neither way is given whole, or shapes do not fit the tasks.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, relatedness_from_predictions
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> p_A = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).repeat(50, 1)
        >>> found = relatedness_from_predictions(A, B, p_A=p_A, y_B=torch.tensor([[0], [1]]).repeat(50, 1))
        >>> found.table.flatten()
        tensor([0.1000, 0.9000], dtype=torch.float64)
    """
    ways: list[tuple[_Way, str]] = []
    if p_A is not None and y_B is not None:
        _check_shapes(("p_A", p_A, source), ("y_B", y_B, target), held_out_A)
        ways.append((_a_predicts(p_A.double(), y_B, source, target, held_out_A), f"{source.name} predicted"))
    if y_A is not None and p_B is not None:
        _check_shapes(("p_B", p_B, target), ("y_A", y_A, source), held_out_B)
        ways.append((_b_predicts(y_A, p_B.double(), source, target, held_out_B), f"{target.name} predicted"))
    if not ways or (p_A is None) != (y_B is None) or (y_A is None) != (p_B is None):
        given = ", ".join(n for n, v in (("p_A", p_A), ("y_B", y_B), ("y_A", y_A), ("p_B", p_B)) if v is not None)
        raise ValueError(f"found {given or 'nothing'}; expected p_A with y_B, or y_A with p_B, or all four")
    generator = torch.Generator().manual_seed(seed)
    tail = (1 - confidence) / 2
    corrected = [h is not None for p, h in ((p_A, held_out_A), (p_B, held_out_B)) if p is not None]
    shares, lows, highs, variances, supports = [], [], [], [], []
    for way, _ in ways:
        share, support = way(None)
        drawn = way(_Draws(generator, replicates))[0]
        wilson = wilson_interval(share[0], support, confidence)
        percentiles = drawn.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
        unknown = (support < least_support) | share[0].isnan()
        shares.append(share[0].masked_fill(unknown, torch.nan))
        low, high = torch.fmin(wilson[..., 0], percentiles[0]), torch.fmax(wilson[..., 1], percentiles[1])
        # A corrected share never reaches 0 or 1 whole: less than half an input is nobody.
        lows.append(torch.where(low * support < 0.5, torch.zeros_like(low), low))
        highs.append(torch.where((1 - high) * support < 0.5, torch.ones_like(high), high))
        half = (highs[-1] - lows[-1]) / 2
        variance = half.square() + 1e-12
        variances.append(variance.mean(dim=1, keepdim=True).expand_as(half) if _is_classes(target) else variance)
        supports.append(support)
    share, known = torch.stack(shares), ~torch.stack(shares).isnan()
    # How far errors have drawn an uncorrected count nobody knows: it counts where there is no other, without interval.
    sure = known & torch.tensor(corrected)[:, None, None]
    known = torch.where(sure.any(dim=0), sure, known)
    weight = torch.where(known, 1 / torch.stack(variances), 0.0)
    table = (share.nan_to_num(0.0) * weight).sum(dim=0) / weight.sum(dim=0)
    without = ~sure.any(dim=0)
    low = torch.where(known, torch.stack(lows), 1.0).amin(dim=0).masked_fill(without, torch.nan)
    high = torch.where(known, torch.stack(highs), 0.0).amax(dim=0).masked_fill(without, torch.nan)
    table = table.clamp(0, 1)
    # EM comes to 0 and 1 without reaching them.
    table = torch.where(table < _NEXT_TO_NOTHING, torch.zeros_like(table), table)
    table = torch.where(table > 1 - _NEXT_TO_NOTHING, torch.ones_like(table), table)
    interval = torch.stack([torch.minimum(low, table), torch.maximum(high, table)], dim=2)
    notes = [
        f"{w} ({'corrected' if c else 'as counted, no interval'})" for (_, w), c in zip(ways, corrected, strict=True)
    ]
    return Relatedness(
        source, target, table, None, torch.stack(supports).sum(dim=0), interval,
        f"soft counts: {'; '.join(notes)}",
    )  # fmt: skip


class _Draws:
    """Bootstrap weights: how often each input is drawn, replicate by replicate."""

    def __init__(self, generator: torch.Generator, replicates: int) -> None:
        self._generator, self.replicates = generator, replicates

    def __call__(self, inputs: int) -> Tensor:
        """Return float64 (replicates, inputs)."""
        weights = torch.zeros(self.replicates, inputs, dtype=torch.float64)
        if inputs:
            drawn = torch.randint(inputs, (self.replicates, inputs), generator=self._generator)
            weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        return weights


# Given draws (None: every input once), R by replicate, (r, K, L), and the soft support, (K, L).
_Way = Callable[[_Draws | None], tuple[Tensor, Tensor]]


def _a_predicts(p: Tensor, y_B: Tensor, source: Task, target: Task, held_out: HeldOut | None) -> _Way:
    holds, annotated = indicators(y_B, target)
    # Columns: B's classes, or for each label: holds; does not.
    labels = holds if _is_classes(target) else torch.cat([holds, annotated - holds], dim=1)
    support = p.t() @ annotated

    def way(draws: _Draws | None) -> tuple[Tensor, Tensor]:
        weights = _weights(draws, len(p))
        predicted = p if _is_classes(source) else torch.cat([p, 1 - p], dim=1)
        observed = torch.stack([(predicted * w[:, None]).t() @ labels for w in weights])
        if not _is_classes(source):  # (r, K, 2, columns)
            observed = observed.reshape(len(observed), 2, -1, observed.shape[2]).transpose(1, 2)
        true = _corrected(observed, _confusion(held_out, source, draws))
        if not _is_classes(source):
            true = true[:, :, 0]
        return _shares(true, target), support

    return way


def _b_predicts(y_A: Tensor, p: Tensor, source: Task, target: Task, held_out: HeldOut | None) -> _Way:
    of_A, _ = indicators(y_A, source)
    support = of_A.sum(dim=0)[:, None].expand(-1, len(target.outputs))

    def way(draws: _Draws | None) -> tuple[Tensor, Tensor]:
        weights = _weights(draws, len(p))
        predicted = p if _is_classes(target) else torch.cat([p, 1 - p], dim=1)
        observed = torch.stack([predicted.t() @ (of_A * w[:, None]) for w in weights])  # (r, predicted, K)
        if not _is_classes(target):
            observed = observed.reshape(len(observed), 2, -1, observed.shape[2]).transpose(1, 2)  # (r, L, 2, K)
        true = _corrected(observed, _confusion(held_out, target, draws))
        if not _is_classes(target):
            true = true.permute(0, 2, 1, 3).flatten(1, 2)  # (r, 2 L, K)
        return _shares(true.transpose(1, 2), target), support

    return way


def _weights(draws: _Draws | None, inputs: int) -> Tensor:
    return torch.ones(1, inputs, dtype=torch.float64) if draws is None else draws(inputs)


def _shares(counts: Tensor, target: Task) -> Tensor:
    """Return R from counts by row: of B's classes, or of labels that hold and that do not."""
    if _is_classes(target):
        return counts / counts.sum(dim=2, keepdim=True)
    holds, not_holds = counts.chunk(2, dim=2)
    return holds / (holds + not_holds)


def _confusion(held_out: HeldOut | None, task: Task, draws: _Draws | None) -> Tensor | None:
    """Return M[i, j], the mean predicted probability of j where i is true: (r, K, K), or by label (r, K, 2, 2).

    What never occurs among the held-out inputs is taken to be predicted without error.
    """
    if held_out is None:
        return None
    holds, annotated = indicators(held_out.y, task)
    p, weights = held_out.p.double(), _weights(draws, len(held_out.y))
    if _is_classes(task):
        sums = torch.stack([(holds * w[:, None]).t() @ p for w in weights])
        counts = (weights @ holds)[:, :, None]
        return torch.where(counts > 0, sums / counts, torch.eye(len(task.outputs), dtype=p.dtype))
    rates = []
    for true, ideal in ((holds, 1.0), (annotated - holds, 0.0)):
        counts = weights @ true
        rate = torch.where(counts > 0, weights @ (true * p) / counts, ideal)
        rates.append(torch.stack([rate, 1 - rate], dim=2))
    return torch.stack(rates, dim=2)


def _corrected(observed: Tensor, M: Tensor | None) -> Tensor:
    """Return P >= 0 with M^T P = observed, or nearest to it; EM, column by column of (..., predicted, columns)."""
    if M is None:
        return observed
    size = max(1, _AT_ONCE // (observed[0].numel() + M[0].numel()))
    parts = []
    for o, m in zip(torch.split(observed, size), torch.split(M, size), strict=True):
        P = o.mean(dim=-2, keepdim=True).expand_as(o)
        for _ in range(_ITERATIONS):
            ratio = o / (m.transpose(-1, -2) @ P).clamp(min=1e-300)
            P = P * (m @ ratio)
        parts.append(P)
    return torch.cat(parts)


def _is_classes(task: Task) -> bool:
    return isinstance(task, Multiclass)


def _check_shapes(
    predicted: tuple[str, Tensor, Task], annotated: tuple[str, Tensor, Task], held_out: HeldOut | None
) -> None:
    for (name, p, task), n in ((predicted, len(annotated[1])),):
        if tuple(p.shape) != (n, len(task.outputs)):
            raise ValueError(f"{name}: found shape {tuple(p.shape)}; expected {(n, len(task.outputs))}")
        if not bool(((p >= 0) & (p <= 1)).all()):
            raise ValueError(f"{name}: found numbers outside [0, 1]; expected probabilities of task {task.name!r}")
        if held_out is not None and tuple(held_out.p.shape) != (len(held_out.y), len(task.outputs)):
            raise ValueError(f"held_out: found predictions of shape {tuple(held_out.p.shape)} for {len(held_out.y)}")
    name, y, task = annotated
    shape = (len(y),) if _is_classes(task) else (len(y), len(task.outputs))
    if tuple(y.shape) != shape:
        raise ValueError(f"{name}: found labels of shape {tuple(y.shape)}; expected {shape} for task {task.name!r}")
