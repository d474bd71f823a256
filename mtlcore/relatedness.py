"""How the labels of two tasks relate: R[c, l] = P(label l of B holds | class c of A)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mtlcore.nearest import did_you_mean
from mtlcore.tasks import Multiclass, Task

Row = str | Sequence[str] | Mapping[str, float | None]


@dataclass(frozen=True, eq=False)
class Relatedness:
    """The relatedness of multiclass task ``source`` (A) to task ``target`` (B).

    Attributes:
        source: task A, with C classes.
        target: task B, with L labels (multilabel) or L classes (multiclass).
        table: R, float64, shape (C, L), in [0, 1]; NaN where a cell is unknown. Where B is multiclass each row
            is a distribution over B's classes: it sums to 1, or is unknown as a whole.

    Raises:
        ValueError: a cell or a row breaks one of these rules; the message names it.
    """

    source: Multiclass
    target: Task
    table: Tensor

    def __post_init__(self) -> None:
        shape = (len(self.source.outputs), len(self.target.outputs))
        if tuple(self.table.shape) != shape:
            raise ValueError(f"{self}: the table has shape {tuple(self.table.shape)}, the tasks need {shape}")
        for row_name, row in zip(self.source.outputs, self.table.tolist(), strict=True):
            for cell_name, value in zip(self.target.outputs, row, strict=True):
                if not math.isnan(value) and not 0.0 <= value <= 1.0:
                    raise ValueError(
                        f"{self}, row {row_name!r}, cell {cell_name!r}: found {value:g}; "
                        "a probability in [0, 1] is right, or null where it is unknown"
                    )
            if isinstance(self.target, Multiclass) and not all(map(math.isnan, row)):
                total = sum(row)
                if math.isnan(total):
                    raise ValueError(
                        f"{self}, row {row_name!r}: some cells are unknown; "
                        f"a row over the classes of {self.target.name!r} is known or unknown as a whole"
                    )
                if abs(total - 1.0) > 1e-6:
                    raise ValueError(
                        f"{self}, row {row_name!r}: sums to {total:g}; "
                        f"a row over the classes of {self.target.name!r} must sum to 1"
                    )

    def __str__(self) -> str:
        return f"relatedness {self.source.name} -> {self.target.name}"

    @property
    def edge(self) -> str:
        """The edge's name, ``A->B``."""
        return f"{self.source.name}->{self.target.name}"

    @classmethod
    def from_rows(cls, source: Multiclass, target: Task, rows: Mapping[str, Row]) -> "Relatedness":
        """Build R from named rows, as a person writes them.

        Args:
            source: task A.
            target: task B.
            rows: for every class of A, its row: a mapping from B's label to a probability (None: unknown), a list
                of the labels that hold for certain, or the one that does. What a row leaves out is 0.

        Raises:
            ValueError: a class lacks its row, a name is not one of the task's, or a value is out of range.

        Example:
            >>> from mtlcore import Multiclass, Multilabel, Relatedness
            >>> mood = Multiclass("mood", ("happy", "sad"))
            >>> units = Multilabel("units", ("smile", "frown", "tears"))
            >>> Relatedness.from_rows(mood, units, {"happy": "smile", "sad": {"frown": 1, "tears": 0.6}}).table
            tensor([[1.0000, 0.0000, 0.0000],
                    [0.0000, 1.0000, 0.6000]], dtype=torch.float64)
        """
        edge = f"relatedness {source.name} -> {target.name}"
        for name in rows:
            if name not in source.outputs:
                raise ValueError(
                    f"{edge}: row {name!r} is not a class of {source.name!r}{did_you_mean(name, source.outputs)}"
                )
        table = torch.zeros(len(source.outputs), len(target.outputs), dtype=torch.float64)
        for c, class_name in enumerate(source.outputs):
            if class_name not in rows:
                raise ValueError(f"{edge}: the table lacks a row for class {class_name!r} of {source.name!r}")
            for label, value in _cells(rows[class_name]).items():
                if label not in target.outputs:
                    raise ValueError(
                        f"{edge}, row {class_name!r}: {label!r} is not one of {target.name!r}"
                        f"{did_you_mean(label, target.outputs)}"
                    )
                table[c, target.outputs.index(label)] = math.nan if value is None else value
        return cls(source, target, table)


def _cells(row: Row) -> Mapping[str, float | None]:
    if isinstance(row, str):
        return {row: 1.0}
    if isinstance(row, Mapping):
        return row
    return dict.fromkeys(row, 1.0)
