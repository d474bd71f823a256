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
    _cached: dict[str, tuple[int, np.ndarray]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rows(self, step: int) -> dict[str, np.ndarray]:
        """Return the rows of the global batch of a step, by dataset, int64."""
        rows_by_dataset = {}
        for name, count in self.per_step.items():
            steps = max(1, _POSITIONS_AT_ONCE // count)
            chunk, place = divmod(step, steps)
            cached = self._cached.get(name)
            if cached is None or cached[0] != chunk:
                cached = chunk, self._permuted(name, chunk * steps * count + np.arange(steps * count))
                self._cached[name] = cached
            rows_by_dataset[name] = cached[1][place * count : (place + 1) * count]
        return rows_by_dataset

    def worker_rows(self, step: int, rank: int, world_size: int) -> dict[str, np.ndarray]:
        """Return the worker's shard of a step's rows: every world_size-th of all datasets' rows in order."""
        shard = {}
        start = 0
        for name, rows in self.rows(step).items():
            # Counted on from dataset to dataset, so that shards differ by one row at most, not by one of each dataset.
            shard[name] = rows[(rank - start) % world_size :: world_size]
            start += len(rows)
        return shard

    def _permuted(self, name: str, positions: np.ndarray) -> np.ndarray:
        size = self.sizes[name]
        epochs, places = np.divmod(positions, size)
        rows = np.empty_like(places)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            # By name, not by place: a dataset that is added leaves the order of the others as it was.
            key = (self.seed % 2**63, zlib.crc32(name.encode()), int(epoch))
            rows[in_epoch] = permute_indices(places[in_epoch], size, key)
        return rows
