"""Trust in a table, by row or by cell, as the losses read it."""

from typing import NamedTuple

import torch
from torch import Tensor

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel


class SplitTrust(NamedTuple):
    """Trust as a factor of every row and one of every cell.

    Attributes:
        rows: of each row, floating point, shape (C,), in [0, 1].
        cells: of each cell relative to its row, floating point, shape (C, L), in [0, 1]; None where it is 1 throughout.
    """

    rows: Tensor
    cells: Tensor | None


def split_trust(trust: Tensor, relatedness: Relatedness) -> SplitTrust:
    """Split trust of shape (C,) or (C, L) into that of rows and that of cells within them.

    A row counts as much as the best of its known cells, so that a cell of trust 0 is the same as one that is unknown. A
    row over a multiclass task's classes is a distribution, known as a whole, and the rows of a multilabel source act
    through one probability each: there a row is trusted as far as its least trusted known cell.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> split_trust(torch.tensor([[0.5, 0.0], [1.0, 1.0]]), R).rows
        tensor([0.5000, 1.0000])
    """
    if trust.dim() == 1:
        return SplitTrust(trust, None)
    unknown = relatedness.table.isnan().to(trust.device)
    if isinstance(relatedness.target, Multiclass) or isinstance(relatedness.source, Multilabel):
        return SplitTrust(trust.masked_fill(unknown, torch.inf).amin(dim=1).clamp(max=1.0), None)
    rows = trust.masked_fill(unknown, 0.0).amax(dim=1)
    # Relative to the row's best, so that row and cell multiply to the trust that was given.
    divisor = torch.where(rows > 0, rows, torch.ones_like(rows))[:, None]
    return SplitTrust(rows, torch.where(rows[:, None] > 0, trust / divisor, torch.ones_like(trust)))
