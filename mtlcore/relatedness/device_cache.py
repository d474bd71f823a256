"""Per-device cache of the tensors that the losses derive from a relatedness table."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from mtlcore.relatedness.relatedness import Relatedness

T = TypeVar("T")
_Kept = dict[tuple[Callable[[Tensor], Any], torch.device, torch.dtype], tuple[int, Any]]
_KEPT: WeakKeyDictionary[Relatedness, _Kept] = WeakKeyDictionary()


def cached_on_device(
    relatedness: Relatedness, of_table: Callable[[Tensor], T], device: torch.device, dtype: torch.dtype
) -> T:
    """Return ``of_table`` of a relatedness's table on a device in a dtype, as long as the table stays the same.

    What is kept goes with the relatedness. A table that was written into is read anew.

    Args:
        relatedness: whose table.
        of_table: a function of a module, not a lambda: it is part of what the answer is found by.
        device: of the logits.
        dtype: of the logits.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": ["flies"]})
        >>> once = cached_on_device(R, identity_view, torch.device("cpu"), torch.float32)
        >>> cached_on_device(R, identity_view, torch.device("cpu"), torch.float32) is once
        True
    """
    table, of_relatedness = relatedness.table, _KEPT.setdefault(relatedness, {})
    version = 0 if table.is_inference() else table._version
    key = (of_table, device, dtype)
    cached = of_relatedness.get(key)
    if cached is None or cached[0] != version:
        # Not as inference tensors, which a later step could not save for its backward pass.
        with torch.inference_mode(False), torch.no_grad():
            cached = of_relatedness[key] = version, of_table(table.to(device, dtype, copy=True))
    value: T = cached[1]
    return value


def identity_view(R: Tensor) -> Tensor:
    """Return R itself."""
    return R


class Cells(NamedTuple):
    """A table as the matching reads it.

    Attributes:
        holds_or_not: R and 1 - R side by side, 0 where unknown, shape (C, 2 L).
        impossible: which of these columns are 0 throughout, bool, shape (2 L,).
        unknown: 1 where a cell is unknown, else 0, shape (C, L); None where the whole table is known.
    """

    holds_or_not: Tensor
    impossible: Tensor
    unknown: Tensor | None


def matching_view(R: Tensor) -> Cells:
    """Return R, shape (C, L), NaN where unknown, as the matching reads it."""
    unknown = R.isnan()
    holds = R.nan_to_num(nan=0.0)
    holds_or_not = torch.cat([holds, (1 - holds).masked_fill(unknown, 0.0)], dim=1)
    impossible = (holds_or_not == 0).all(dim=0)
    return Cells(holds_or_not, impossible, unknown.to(R.dtype) if bool(unknown.any()) else None)


class Related(NamedTuple):
    """A table as the co-annotation reads it.

    Attributes:
        R: the table, 0 where unknown, shape (C, L).
        known: 1 where a cell is known, else 0, shape (C, L).
        wholly_known: whether all are.
    """

    R: Tensor
    known: Tensor
    wholly_known: bool


def annotation_view(R: Tensor) -> Related:
    """Return R, shape (C, L), NaN where unknown, as the co-annotation reads it."""
    known = ~R.isnan()
    return Related(R.nan_to_num(nan=0.0), known.to(R.dtype), bool(known.all()))


class RareCells(NamedTuple):
    """Cells of a table, one by one: their places and values, each of shape (cells,)."""

    rows: Tensor
    columns: Tensor
    values: Tensor


class SpreadCells(NamedTuple):
    """Cells of a table whose many values lie in one interval [low, high], to be gone through by interpolation.

    Attributes:
        nodes: the values of the interval at which log(1 - p v) is computed, Chebyshev's.
        coefficients: what makes Chebyshev coefficients of a function's values at the nodes, shape (nodes, nodes).
        position: where in [-1, 1] the value of each cell lies between low and high, 0 for other cells, shape (K, L).
        values: the cells' values, 0 for other cells, shape (K, L).
    """

    nodes: tuple[float, ...]
    coefficients: Tensor
    position: Tensor
    values: Tensor


class Causes(NamedTuple):
    """A table as noisy-OR reads it.

    Attributes:
        R: the table, 0 where unknown, shape (K, L).
        known: 1 where a cell is known, else 0, shape (K, L).
        wholly_known: whether all are.
        some_known: which columns have a known cell, bool, shape (L,).
        no_cause: which columns are 0 throughout, bool, shape (L,).
        common: each value > 0 that stands in many cells, and 1 where it does, else 0, shape (K, L).
        spread: cells of many values in the same interval.
        rare: the other cells > 0.
    """

    R: Tensor
    known: Tensor
    wholly_known: bool
    some_known: Tensor
    no_cause: Tensor
    common: list[tuple[float, Tensor]]
    spread: list[SpreadCells]
    rare: RareCells


# A matrix product does about this many multiply-adds in the time of one logarithm with its gather and scatter.
_WORTH_A_PRODUCT = 200


# Intervals of 1 - v from one to the next a third: the nearest value at which log(1 - p v) is singular for any p, v = 1,
# is then as far from the interval's middle as its whole length, and an interpolation at m nodes is off by some 3.73^-m:
# less than float32, and float64, rounds a sum of a thousand terms.
_RATIO, _INTERVALS = 3.0, 4
_NODES = {torch.float32: 13, torch.float64: 28}


def _spread_cells(R: Tensor, rare: Tensor) -> list[SpreadCells]:
    """Return the intervals in which so many rare cells lie that products cost less than their logarithms."""
    found, count = [], _NODES.get(R.dtype, _NODES[torch.float32])
    for number in range(_INTERVALS):
        low, high = 1 - _RATIO**-number, 1 - _RATIO ** -(number + 1)
        inside = rare & (low < R) & (high >= R)
        if inside.sum() * _WORTH_A_PRODUCT < count * R.numel():
            continue
        angles = torch.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count
        nodes = (low + high) / 2 + (high - low) / 2 * angles.cos()
        coefficients = 2 / count * torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * angles)
        coefficients[0] /= 2
        position = ((2 * R - low - high) / (high - low)).masked_fill(~inside, 0.0)
        found.append(SpreadCells(tuple(nodes.tolist()), coefficients.to(R), position, R.masked_fill(~inside, 0.0)))
    return found


def cause_view(R: Tensor) -> Causes:
    """Return R, shape (K, L), NaN where unknown, as noisy-OR reads it."""
    unknown = R.isnan()
    R = R.nan_to_num(nan=0.0)
    values, counts = torch.unique(R, return_counts=True)  # type: ignore[no-untyped-call]
    is_common = (counts * _WORTH_A_PRODUCT >= R.numel()) | (values == 1)
    common = values[is_common & (values > 0)]
    rare = (R > 0) & ~torch.isin(R, common)
    spread = _spread_cells(R, rare)
    for of_interval in spread:
        rare = rare & (of_interval.values == 0)
    rows, columns = rare.nonzero(as_tuple=True)
    return Causes(
        R,
        (~unknown).to(R.dtype),
        not bool(unknown.any()),
        (~unknown).any(dim=0),
        (R == 0).all(dim=0),
        [(value, (value == R).to(R.dtype)) for value in common.tolist()],
        spread,
        RareCells(rows, columns, R[rare]),
    )


class Evidence(NamedTuple):
    """A table as evidence of classes: logarithms of P(label | class), R clipped; 0 where unknown.

    Attributes:
        log_not: log(1 - R), shape (C, L).
        log_odds: log R - log(1 - R), shape (C, L).
        log_none: the rows' sums of ``log_not``, shape (C,).
    """

    log_not: Tensor
    log_odds: Tensor
    log_none: Tensor


@lru_cache(maxsize=64)
def evidence_view(clip: float) -> Callable[[Tensor], Evidence]:
    """Return the view of a table, shape (C, L), NaN where unknown, with R clipped to [clip, 1 - clip].

    It is the same function for the same ``clip``. At a ``clip`` of 0 logarithms of 0 are -100, as in
    ``torch.nn.BCELoss``.
    """

    def view(R: Tensor) -> Evidence:
        clipped = R.clamp(clip, 1 - clip)
        log_not = torch.log1p(-clipped).clamp(min=-100.0).nan_to_num(nan=0.0)
        log_holds = clipped.log().clamp(min=-100.0).nan_to_num(nan=0.0)
        return Evidence(log_not, log_holds - log_not, log_not.sum(dim=1))

    return view
