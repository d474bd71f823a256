"""How the labels of two tasks relate: R[c, l] = P(label l of B holds | class or label c of A holds)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtlcore.relatedness.plot import cell_text, heat_map, html_table
from mtlcore.relatedness.rows import expanded_row
from mtlcore.suggestions import did_you_mean
from mtlcore.tasks import Multiclass, Multilabel, Task

Row = str | Sequence[str] | Mapping[str, Any] | None


def no_relatedness(task: Task) -> str | None:
    """Say why a task can be no end of a relatedness; None where it can.

    Example:
        >>> from mtlcore import Multiclass
        >>> no_relatedness(Multiclass("mood", ("happy",))) is None
        True
    """
    if isinstance(task, Multiclass | Multilabel):
        return None
    why = {
        "regression": "a table holds the probability of a class or label, and a number has none",
        "ordinal": "a table's losses read a probability a class, and an ordinal head has thresholds of one score",
    }
    return (
        f"found {task.name!r}, of kind {task.kind}: {why[task.kind]}; expected a "
        "multiclass or multilabel task (`bins` in a label rule makes one of a column of numbers)"
    )


@dataclass(frozen=True, eq=False)
class Relatedness:
    """The relatedness of task ``source`` (A) to task ``target`` (B), either of them multiclass or multilabel.

    Attributes:
        source: task A, with K classes or labels.
        target: task B, with L labels (multilabel) or L classes (multiclass).
        table: R, float64, shape (K, L), in [0, 1]; NaN where a cell is unknown. Where B is multiclass each row
            is a distribution over B's classes: it sums to 1, or is unknown as a whole.
        base: what holds of B where A has nothing to say, float64, shape (L,), in [0, 1]; for a multilabel A alone.
            Multilabel B: the leak, P(l holds | no label of A holds), 0 where not given. Multiclass B: B's class
            prior, which sums to 1, uniform where not given.
        support: how many inputs a cell was counted from, shape (K, L), >= 0; None where it was not counted.
        interval: low and high end of every cell, float64, shape (K, L, 2), NaN where there is none; or None.
        provenance: where it comes from, in a person's words.

    Raises:
        ValueError: a cell or a row breaks one of these rules; the message names it.

    Example:
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> mood, units = Multiclass("mood", ("happy", "sad")), Multilabel("units", ("smile", "tears"))
        >>> print(Relatedness.from_rows(mood, units, {"happy": "smile", "sad": {"tears": 0.6, "smile": None}}))
        P(units | mood)  smile  tears
        happy                1      0
        sad                  ?   0.60
    """

    source: Task
    target: Task
    table: Tensor
    base: Tensor | None = None
    support: Tensor | None = None
    interval: Tensor | None = None
    provenance: str = ""

    def __post_init__(self) -> None:
        for end in (self.source, self.target):
            if (why := no_relatedness(end)) is not None:
                raise ValueError(f"{self.edge}: {why}")
        shape = (len(self.source.outputs), len(self.target.outputs))
        if tuple(self.table.shape) != shape:
            raise ValueError(f"{self.edge}: the table has shape {tuple(self.table.shape)}, the tasks need {shape}")
        for k in self._rows_to_check():
            self._check_row(f"row {self.source.outputs[k]!r}", self.table[k].tolist())
        self._check_base()
        self._check_evidence()

    def _rows_to_check(self) -> list[int]:
        """Return the rows in which something may be wrong: of a large table, looking at every cell takes seconds."""
        unknown = self.table.isnan()
        wrong = ~(((self.table >= 0) & (self.table <= 1)) | unknown).all(dim=1)
        if isinstance(self.target, Multiclass):
            wrong |= (self.table.double().sum(dim=1) - 1).abs().nan_to_num(1.0) > 1e-7
            wrong &= ~unknown.all(dim=1)
        return wrong.nonzero().flatten().tolist()

    def _check_row(self, where: str, row: list[float]) -> None:
        for cell_name, value in zip(self.target.outputs, row, strict=True):
            if not math.isnan(value) and not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"{self.edge}, {where}, cell {cell_name!r}: found {value:g}; "
                    "expected a probability in [0, 1], or null where it is unknown"
                )
        if isinstance(self.target, Multiclass) and not all(map(math.isnan, row)):
            total = sum(row)
            if math.isnan(total):
                raise ValueError(
                    f"{self.edge}, {where}: some cells are unknown; "
                    f"a row over the classes of {self.target.name!r} is known or unknown as a whole"
                )
            if abs(total - 1.0) > 1e-6:
                raise ValueError(
                    f"{self.edge}, {where}: sums to {total:g}; "
                    f"a row over the classes of {self.target.name!r} must sum to 1"
                )

    def _check_base(self) -> None:
        if self.base is None:
            return
        if not isinstance(self.source, Multilabel):
            raise ValueError(f"{self.edge}: found a base; only a multilabel source can have nothing to say")
        if tuple(self.base.shape) != (len(self.target.outputs),):
            raise ValueError(
                f"{self.edge}: the base has shape {tuple(self.base.shape)}; expected ({len(self.target.outputs)},)"
            )
        for cell_name, value in zip(self.target.outputs, self.base.tolist(), strict=True):
            if math.isnan(value):
                raise ValueError(f"{self.edge}, base, cell {cell_name!r}: unknown; expected a probability in [0, 1]")
        self._check_row("base", self.base.tolist())

    def _check_evidence(self) -> None:
        shape = tuple(self.table.shape)
        if self.support is not None:
            if tuple(self.support.shape) != shape:
                raise ValueError(f"{self.edge}: the support has shape {tuple(self.support.shape)}; expected {shape}")
            if bad := first_cell(~(self.support >= 0), self):
                raise ValueError(f"{self.edge}, {bad}: found a support below 0; expected a count")
        if self.interval is not None:
            if tuple(self.interval.shape) != (*shape, 2):
                found = tuple(self.interval.shape)
                raise ValueError(f"{self.edge}: the interval has shape {found}; expected {(*shape, 2)}")
            low, high = self.interval.unbind(dim=2)
            if bad := first_cell((low > high) | (low < 0) | (high > 1) | (low.isnan() != high.isnan()), self):
                raise ValueError(f"{self.edge}, {bad}: its interval is not low <= high within [0, 1]")

    @property
    def edge(self) -> str:
        """Its name in messages: ``relatedness A -> B``."""
        return f"relatedness {self.source.name} -> {self.target.name}"

    @property
    def key(self) -> str:
        """Its name where parts are looked up by edge: ``A->B``."""
        return f"{self.source.name}->{self.target.name}"

    def __str__(self) -> str:
        return self.as_text()

    def as_text(self, most: int = 40) -> str:
        """Return the table as text, one line per row, ``?`` for an unknown cell.

        Args:
            most: rows, and columns, that are shown; how many are left out is said.
        """
        names = self.target.outputs[:most]
        title = f"P({self.target.name} | {self.source.name})"
        rows = [[title, *names]]
        rows += [
            [name, *map(cell_text, row[:most])]
            for name, row in zip(self.source.outputs[:most], self.table.tolist(), strict=False)
        ]
        if self.base is not None:
            rows.append(["(base)", *map(cell_text, self.base.tolist()[:most])])
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        left_out = (len(self.source.outputs) - most, len(self.target.outputs) - most)
        if max(left_out) > 0:
            lines.append(f"... {max(left_out[0], 0)} more rows, {max(left_out[1], 0)} more columns")
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a table whose cells are coloured by their probability."""
        title = f"P({self.target.name} | {self.source.name})"
        return html_table(self.table, self.source.outputs, self.target.outputs, title)

    def plot(self) -> Any:
        """Draw the table as a heat map, unknown cells grey; needs matplotlib.

        Returns:
            a ``matplotlib.figure.Figure``, for ``savefig``; it belongs to no window.

        Example:
            >>> from mtlcore import expression_to_au
            >>> expression_to_au().plot().axes[0].get_title()
            'P(action_units | expression)'
        """
        title = f"P({self.target.name} | {self.source.name})"
        return heat_map(self.table, self.source.outputs, self.target.outputs, title)

    @classmethod
    def from_rows(
        cls,
        source: Task,
        target: Task,
        rows: Mapping[str, Row],
        base: Mapping[str, float] | None = None,
        provenance: str = "",
    ) -> "Relatedness":
        """Build R from named rows, as a person writes them.

        Args:
            source: task A.
            target: task B.
            rows: for every class or label of A, its row: a mapping from B's label to a probability (None: unknown),
                a list of the labels that hold for certain, the one that does, None where the row is unknown, or
                ``{"prototypical": [labels], "observational": {label: weight}}``. What a row leaves out is 0.
            base: for a multilabel A, :attr:`base` by name; what it leaves out is 0.
            provenance: where it comes from.

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
        what = "class" if isinstance(source, Multiclass) else "label"
        known, places = set(source.outputs), {name: i for i, name in enumerate(target.outputs)}
        for name in rows:
            if name not in known:
                raise ValueError(
                    f"{edge}: row {name!r} is not a {what} of {source.name!r}{did_you_mean(name, source.outputs)}"
                )
        table = [[0.0] * len(target.outputs) for _ in source.outputs]
        for c, class_name in enumerate(source.outputs):
            if class_name not in rows:
                nothing = f", or `{class_name}: []` where nothing holds" if isinstance(target, Multilabel) else ""
                raise ValueError(
                    f"{edge}: the table lacks a row for {what} {class_name!r} of {source.name!r}; expected one: "
                    f"`{class_name}: null` where it is unknown{nothing}"
                )
            where = f"{edge}, row {class_name!r}"
            for label, value in expanded_row(rows[class_name], target.outputs, where).items():
                table[c][places[label] if label in places else _place(label, target, where)] = value
        cells = torch.tensor(table, dtype=torch.float64).reshape(len(source.outputs), len(target.outputs))
        if base is None:
            return cls(source, target, cells, provenance=provenance)
        leak = torch.zeros(len(target.outputs), dtype=torch.float64)
        for label, value in base.items():
            leak[_place(label, target, f"{edge}, base")] = value
        return cls(source, target, cells, leak, provenance=provenance)


def first_cell(wrong: Tensor, relatedness: Relatedness) -> str | None:
    """Name the first cell that ``wrong``, bool (K, L), marks; None where there is none."""
    for k, column in wrong.nonzero().tolist():
        return f"row {relatedness.source.outputs[k]!r}, cell {relatedness.target.outputs[column]!r}"
    return None


def known_rows(relatedness: Relatedness) -> Iterator[tuple[str, dict[str, float | None]]]:
    """Yield every row by name, as :meth:`Relatedness.from_rows` takes it; a zero is left out."""
    for name, row in zip(relatedness.source.outputs, relatedness.table.tolist(), strict=True):
        cells = zip(relatedness.target.outputs, row, strict=True)
        yield name, {label: None if math.isnan(value) else value for label, value in cells if value != 0}


def _place(label: str, target: Task, where: str) -> int:
    if label not in target.outputs:
        raise ValueError(f"{where}: {label!r} is not one of {target.name!r}{did_you_mean(label, target.outputs)}")
    return target.outputs.index(label)
