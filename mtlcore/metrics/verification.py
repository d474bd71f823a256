"""Verification: whether two inputs are of one identity, by how alike their embeddings are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtlcore.metrics.interval import Interval
from mtlcore.metrics.student_t import interval_half_width

_ENTRIES_AT_ONCE = 1 << 22


def verification_scores(
    similarity: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray | None = None
) -> dict[str, Any]:
    """Score pairs of inputs by their similarity; none of the identities need have been seen in training.

    ``auc`` is the probability that a pair of one identity is more alike than a pair of two, ties counted as a half
    (0.5: chance). ``eer`` is the equal error rate: at the threshold where the share of two identities taken for one
    is closest to that of one taken for two, their mean (0.5: chance; lower is better).

    Args:
        similarity: of each pair, such as the cosine of two embeddings, floating point, shape (P,).
        first: the identity of one input of each pair, integer, shape (P,).
        second: of the other.
        weights: of the pairs, floating point, shape (..., P); 1 by default.

    Returns:
        ``auc`` and ``eer``, floats, or float64 of shape (...) with weights; NaN where pairs of one kind are missing.

    Example:
        >>> import numpy as np
        >>> same = np.array([1, 2, 1, 2]), np.array([1, 2, 2, 3])
        >>> verification_scores(np.array([0.9, 0.2, 0.1, 0.3]), *same)
        {'auc': 0.75, 'eer': 0.5}
    """
    order = np.argsort(similarity, kind="stable")
    starts = np.flatnonzero(np.diff(similarity[order], prepend=np.nan) != 0)  # of pairs that are equally alike
    same = (first == second)[order]
    w = np.ones((1, len(order))) if weights is None else np.atleast_2d(weights)[:, order]
    of_same = np.add.reduceat(w * same, starts, axis=1)
    of_two = np.add.reduceat(w * ~same, starts, axis=1)
    all_same, all_two = of_same.sum(axis=1, keepdims=True), of_two.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        below = np.cumsum(of_two, axis=1) - of_two
        auc = (of_same * (below + of_two / 2) / (all_same * all_two)).sum(axis=1)
        # Taken for one from the k-th value on; from behind the last, none is.
        missed = np.concatenate([np.zeros_like(all_same), np.cumsum(of_same, axis=1)], axis=1) / all_same
        false = 1 - np.concatenate([np.zeros_like(all_two), np.cumsum(of_two, axis=1)], axis=1) / all_two
    defined = ((all_same > 0) & (all_two > 0))[:, 0]
    at = np.abs(np.nan_to_num(missed - false, nan=1.0)).argmin(axis=1)[:, None]
    eer = (np.take_along_axis(missed, at, 1) + np.take_along_axis(false, at, 1))[:, 0] / 2
    found = {"auc": np.where(defined, auc, np.nan), "eer": np.where(defined, eer, np.nan)}
    if weights is None:
        return {name: float(value[0]) for name, value in found.items()}
    return {name: value.reshape(weights.shape[:-1]) for name, value in found.items()}


def verification_difference(
    arm: Sequence[np.ndarray],
    baseline: Sequence[np.ndarray],
    first: np.ndarray,
    second: np.ndarray,
    *,
    metric: str = "auc",
    replicates: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Compare an arm with a baseline on the same pairs, seed by seed, with an interval for the difference.

    Pairs that share a person are not independent, so the bootstrap draws persons, not pairs (the subsets bootstrap of
    R. Bolle, N. Ratha, S. Pankanti, "Error analysis of pattern recognition systems: the subsets bootstrap", Computer
    Vision and Image Understanding 93, 2004): a pair counts as often as its person is drawn, or the product of its two.
    Over seeds as in :func:`mtlcore.paired_difference`.

    Args:
        arm: the similarity of the pairs, shape (P,), a seed each.
        baseline: the same for the baseline, seed by seed.
        first: the identity of one input of each pair, integer, shape (P,).
        second: of the other.
        metric: ``auc`` or ``eer``.
        replicates: number of bootstrap replicates.
        confidence: coverage of the interval, in (0, 1).
        seed: of the bootstrap's own generator.

    Example:
        >>> import numpy as np
        >>> first, second = np.arange(40) % 10, np.arange(40) % 10 + np.arange(40) // 20
        >>> alike = [1.0 * (first == second)]
        >>> verification_difference(alike, [-alike[0]], first, second).low
        1.0
    """
    if len(arm) != len(baseline) or not arm:
        raise ValueError(f"found {len(arm)} seeds against {len(baseline)}; expected as many, at least one")
    of_seeds = np.array(
        [
            verification_scores(a, first, second)[metric] - verification_scores(b, first, second)[metric]
            for a, b in zip(arm, baseline, strict=True)
        ]
    )
    people, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    one, other = places.reshape(2, -1)
    generator = np.random.Generator(np.random.PCG64(seed))
    replicated, size = [], max(1, _ENTRIES_AT_ONCE // max(len(first), 1))
    for start in range(0, replicates, size):
        drawn = generator.multinomial(
            len(people), np.full(len(people), 1 / len(people)), size=min(size, replicates - start)
        )
        weights = np.where(one == other, drawn[:, one], drawn[:, one] * drawn[:, other]).astype(np.float64)
        differences = [
            verification_scores(a, first, second, weights)[metric]
            - verification_scores(b, first, second, weights)[metric]
            for a, b in zip(arm, baseline, strict=True)
        ]
        replicated.append(np.mean(differences, axis=0))
    value, seeds = float(of_seeds.mean()), len(arm)
    without = (of_seeds.sum() - of_seeds) / (seeds - 1) if seeds > 1 else np.empty(0)
    drawn_values = np.concatenate(replicated)
    half = interval_half_width(without, drawn_values[~np.isnan(drawn_values)], confidence)
    return Interval(value, value - half, value + half)
