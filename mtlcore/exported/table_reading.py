"""A multiclass task predicted through its relatedness tables: mtlcore.relatedness.reading with its tables as constants.

The arithmetic is that of :func:`mtlcore.table_evidence` and :func:`mtlcore.fuse_log_linear`, in their order, without
anything that depends on values: so it goes into an exported program.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mtlcore.exported.description import ExportedEdge, ExportedReading

_FEW_VALUES = 8
_DOUBT = 0.1


class TableReading(nn.Module):
    """A task's classes from its head and from other tasks' logits.

    Args:
        name: the task.
        reading: its tables and weights.
        kinds: by task, ``multiclass`` or ``multilabel``.
    """

    log_prior: Tensor
    seen: Tensor
    seen_at: Tensor

    def __init__(self, name: str, reading: ExportedReading, kinds: Mapping[str, str]) -> None:
        super().__init__()
        self.name = name
        self.fused, self.weights = reading.fused, (reading.head, reading.table, reading.alone)
        self.evidences = nn.ModuleList(_Evidence(edge, kinds[edge.target] == "multiclass") for edge in reading.edges)
        self.all_seen = all(reading.seen)
        self.register_buffer("log_prior", torch.tensor(reading.prior, dtype=torch.float64).log(), persistent=False)
        seen = torch.tensor(reading.seen)
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("seen_at", seen.nonzero().flatten(), persistent=False)

    def _evidences(self) -> "list[_Evidence]":
        return [cast(_Evidence, module) for module in self.evidences]

    def forward(self, logits: Mapping[str, Tensor]) -> Tensor:
        """Return log p of each class, float32, (N, classes)."""
        evidence = torch.stack([edge(logits[edge.target]) for edge in self._evidences()]).sum(dim=0)
        head, table, alone = self.weights
        if not self.fused:
            return torch.log_softmax(self.log_prior + alone * evidence, dim=1).float()
        fused = head * logits[self.name].double() + table * evidence
        if self.all_seen:
            return torch.log_softmax(fused, dim=1).float()
        by_table = torch.log_softmax(self.log_prior + alone * evidence, dim=1)
        among_seen = torch.log_softmax(fused.masked_fill(~self.seen, -torch.inf), dim=1)
        of_seen = by_table[:, self.seen_at].logsumexp(dim=1, keepdim=True)
        return torch.where(self.seen, among_seen + of_seen, by_table).float()


class _Evidence(nn.Module):
    """What one task's prediction says for each class of another; see :func:`mtlcore.table_evidence`."""

    prior: Tensor
    table: Tensor
    known: Tensor
    unknown_row: Tensor

    def __init__(self, edge: ExportedEdge, multiclass: bool) -> None:
        super().__init__()
        self.target, self.multiclass = edge.target, multiclass
        rows = [[float("nan") if cell is None else cell for cell in row] for row in edge.table]
        table = torch.tensor(rows, dtype=torch.float64)
        known = ~table.isnan()
        self.register_buffer("prior", torch.tensor(edge.prior, dtype=torch.float64), persistent=False)
        self.register_buffer("table", table.nan_to_num(0.0), persistent=False)
        self.register_buffer("known", known, persistent=False)
        self.register_buffer("unknown_row", ~known.all(dim=1), persistent=False)
        values = torch.unique(table[known])
        self.values: list[float] = values.tolist() if len(values) <= _FEW_VALUES else []
        self.rows = 0 if self.values or not len(values) else len(table)
        for i, value in enumerate(self.values):
            self.register_buffer(f"where_{i}", (known & (value == table)).double().t(), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        z = logits.double()
        if self.multiclass:
            ratio = (z.softmax(dim=1) / self.prior) @ self.table.t()
            return (_DOUBT + (1 - _DOUBT) * ratio).log().masked_fill(self.unknown_row, 0.0)
        holds, not_holds = z.sigmoid() / self.prior, (-z).sigmoid() / (1 - self.prior)

        def cell(value: Tensor | float) -> Tensor:
            return (_DOUBT + (1 - _DOUBT) * (holds * value + not_holds * (1 - value))).log()

        if self.rows:
            of_rows = [(cell(self.table[c]) * self.known[c]).sum(dim=1) for c in range(self.rows)]
            return torch.stack(of_rows, dim=1)
        total = z.new_zeros(z.shape[0], self.table.shape[0])
        for i, value in enumerate(self.values):
            total = total + cell(value) @ getattr(self, f"where_{i}")
        return total
