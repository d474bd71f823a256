"""Relatedness of two codings of one number: both cut it into bins, so that what follows from a bin is arithmetic."""

import math
from collections.abc import Sequence

import torch

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Task


def relatedness_from_bins(
    source: Task, target: Task, source_bins: Sequence[float], target_bins: Sequence[float]
) -> Relatedness:
    """Build R of two tasks that are one number, cut at some bounds: exact, and unknown where a bin does not tell.

    Class k of a multiclass task holds from the k-th bound on, up to the next; label k of a multilabel target from the
    k-th bound on, whatever is above. A class of the source within one of the target's, or on one side of a label's
    bound, says 1 or 0; across a bound it says nothing: the cell, or of a multiclass target the row, is unknown.

    Args:
        source: multiclass, of a class more than it has bounds.
        target: multiclass, of a class more than it has bounds, or multilabel, of as many labels.
        source_bins: its bounds, rising.
        target_bins: of the target.

    Raises:
        ValueError: the source is not multiclass, bounds do not rise or are not as many, or nothing is known.

    Example:
        >>> from mtlcore import Multiclass, Multilabel, relatedness_from_bins
        >>> age = Multiclass("age", ("child", "adult", "old"))
        >>> over = Multilabel("over", ("18", "40", "65"))
        >>> print(relatedness_from_bins(age, over, [18, 65], [18, 40, 65]))
        P(over | age)  18  40  65
        child           0   0   0
        adult           1   ?   0
        old             1   1   1
    """
    edge = f"relatedness {source.name} -> {target.name}"
    if not isinstance(source, Multiclass):
        raise ValueError(f"{edge}: found a source of kind {source.kind}; expected a multiclass one, or the other way")
    for task, bins in ((source, source_bins), (target, target_bins)):
        right = len(task.outputs) - isinstance(task, Multiclass)
        if list(bins) != sorted(set(bins)) or len(bins) != right:
            raise ValueError(f"{edge}: found the bins {list(bins)} of {task.name!r}; expected {right} rising numbers")
    low = torch.tensor([-math.inf, *source_bins], dtype=torch.float64)[:, None]
    high = torch.tensor([*source_bins, math.inf], dtype=torch.float64)[:, None]
    bounds = torch.tensor(list(target_bins), dtype=torch.float64)
    above, below = low >= bounds, high <= bounds  # of every bound of the target: all of the bin, or none of it
    if isinstance(target, Multiclass):
        known = (above | below).all(dim=1, keepdim=True)
        place = above.sum(dim=1)
        table = torch.nn.functional.one_hot(place, len(target.outputs)).double()
    else:
        known, table = above | below, above.double()
    if not known.any():
        raise ValueError(f"{edge}: no bin of {source.name!r} lies within one of {target.name!r}; expected finer bins")
    return Relatedness(source, target, table.masked_fill(~known, math.nan), provenance="two binnings of one number")
