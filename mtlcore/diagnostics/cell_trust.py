"""Trust in the cells of a table, from what was observed of them."""

import torch
from torch import Tensor

from mtlcore.diagnostics.observed_cells import ObservedCells
from mtlcore.relatedness.device_cache import cached_on_device, identity_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass

# A cell that lies beyond its interval by no more than TRUSTED keeps its trust, one from DOUBTED on has none.
TRUSTED, DOUBTED = 0.3, 0.5


def cell_trust(relatedness: Relatedness, observed: ObservedCells) -> Tensor:
    """Compare the cells of a table with what was observed; see :class:`RelatednessTrust`.

    Args:
        relatedness: R, of C by L cells.
        observed: of the same cells.

    Returns:
        trust, float32, shape (C, L), in [0, 1]; 1 where the table is unknown.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, ObservedCells, Relatedness
        >>> A, B = Multiclass("species", ("penguin", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"penguin": {"flies": 0.95}, "crow": {"flies": 0.95}})
        >>> share = torch.tensor([[0.03], [0.9]])
        >>> cell_trust(R, ObservedCells(share, share - 0.02, share + 0.05))
        tensor([[0.],
                [1.]])
    """
    table = cached_on_device(relatedness, identity_view, observed.low.device, observed.low.dtype)
    return trusted_cells(
        table,
        observed,
        from_classes=isinstance(relatedness.source, Multiclass),
        to_classes=isinstance(relatedness.target, Multiclass),
    )


def trusted_cells(table: Tensor, observed: ObservedCells, *, from_classes: bool, to_classes: bool) -> Tensor:
    """Return :func:`cell_trust` of tables, shape (..., C, L), NaN where unknown.

    Args:
        table: the tables.
        observed: of the same cells.
        from_classes: whether the sources are multiclass.
        to_classes: whether the targets are.
    """
    beyond = table - observed.high
    # Too small a cell is no mistake where other labels of A may be the cause.
    if from_classes:
        beyond = torch.maximum(beyond, observed.low - table)
    beyond = beyond.nan_to_num(0.0).clamp(min=0)
    if to_classes:
        beyond = beyond.amax(dim=-1, keepdim=True).expand_as(beyond)
    return 1 - ((beyond - TRUSTED) / (DOUBTED - TRUSTED)).clamp(0, 1)
