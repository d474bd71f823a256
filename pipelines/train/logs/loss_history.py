"""The loss history: the loss and its parts at every step, over the global batch."""

import io
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch import Tensor


class LossNotFiniteError(RuntimeError):
    """The loss became infinite or NaN: the run cannot continue."""


class LossHistory:
    """What every step's loss was; steps are gathered from the workers several at once, to wait for them seldom.

    Attributes:
        columns: ``loss`` and its parts.
        rows: one per step, as far as they were gathered.
    """

    def __init__(self, columns: Sequence[str] = (), rows: Sequence[Sequence[float]] = ()) -> None:
        self.columns, self.rows = tuple(columns), [list(row) for row in rows]
        self._not_gathered: list[Tensor] = []

    def add(self, loss: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Note a step: this worker's share of the loss and of each of its parts; their sums over workers count."""
        self.columns = ("loss", *parts)
        self._not_gathered.append(torch.stack([loss.detach(), *parts.values()]))

    def gather(self) -> dict[str, float]:
        """Sum what was noted over the workers, which must all call this at the same step; return the last step's.

        Raises:
            LossNotFiniteError: a loss is infinite or NaN.
        """
        if self._not_gathered:
            values = torch.stack(self._not_gathered)
            self._not_gathered.clear()
            if dist.is_initialized() and dist.get_world_size() > 1:
                dist.all_reduce(values)
            # After the sum, which is not finite on any worker if one share is not: all of them stop here together.
            for row in values.tolist():
                if not math.isfinite(row[0]):
                    parts = ", ".join(f"{name} {value:g}" for name, value in zip(self.columns, row, strict=True))
                    raise LossNotFiniteError(
                        f"step {len(self.rows)}: the loss is not finite ({parts}); a lower lr may help"
                    )
                self.rows.append(row)
        return dict(zip(self.columns, self.rows[-1], strict=True))

    def tensor(self) -> Tensor:
        """Return all rows, float32, shape (steps, columns)."""
        return torch.tensor(self.rows, dtype=torch.float32).reshape(len(self.rows), len(self.columns))

    def parquet(self) -> bytes:
        """Return a Parquet file with one row per step."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        file = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), file)
        return file.getvalue()
