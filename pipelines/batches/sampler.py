"""The batch sampler: which rows a step trains on, as a function of (seed, step) alone.

Every step takes a fixed number of rows from each dataset. Dataset d's rows come from an endless sequence: epoch
after epoch, each a permutation of its own. A worker takes every world_size-th row of the step's list, so another
number of workers changes neither the rows nor their order.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipelines.batches.permutation import permute_indices

# Rows of so many positions of a dataset's sequence are worked out in one go: it takes hardly longer than a step's.
_POSITIONS_AT_ONCE = 8192


@dataclass(frozen=True)
class BatchSampler:
    """The rows of every step.

    Attributes:
        seed: chooses the permutations.
        sizes: number of rows of each dataset.
        per_step: rows that a step takes from each; see :func:`pipelines.batches.mixing_rates.rows_per_step`.
    """

    seed: int
    sizes: Mapping[str, int]
    per_step: Mapping[str, int]
    _made: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rows(self, step: int) -> dict[str, np.ndarray]:
        """Return the rows of the global batch of a step, by dataset, int64."""
        found = {}
        for name, count in self.per_step.items():
            steps = max(1, _POSITIONS_AT_ONCE // count)
            part, place = divmod(step, steps)
            made = self._made.get(name)
            if made is None or made[0] != part:
                made = part, self._of(name, part * steps * count + np.arange(steps * count))
                self._made[name] = made
            found[name] = made[1][place * count : (place + 1) * count]
        return found

    def worker_rows(self, step: int, rank: int, world_size: int) -> dict[str, np.ndarray]:
        """Return the worker's shard of a step's rows: every world_size-th of all datasets' rows in order."""
        part = {}
        start = 0
        for name, rows in self.rows(step).items():
            part[name] = rows[(rank - start) % world_size :: world_size]
            start += len(rows)
        return part

    def _of(self, name: str, positions: np.ndarray) -> np.ndarray:
        size = self.sizes[name]
        epochs, places = np.divmod(positions, size)
        found = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            key = (self.seed % 2**63, zlib.crc32(name.encode()), int(epoch))
            found[here] = permute_indices(places[here], size, key)
        return found
