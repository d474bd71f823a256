"""Labels drawn from what several annotators say, anew in every step: soft targets, in the mean over steps.

Every loss that reads labels is linear in its target (mtlcore.MixedLabels says so of each), so that its mean over labels
drawn with the annotators' shares is the loss to the shares themselves, as J. Peterson et al., "Human uncertainty makes
classification more robust", ICCV 2019, train. Losses, balancing and mixup need to know nothing of it.
"""

import zlib
from collections.abc import Mapping

import numpy as np

from pipelines.batches.counter_random import key_of, uniform_draws

_STREAM = 0x50  # apart from what chooses and alters rows


def with_drawn_votes(
    labels: Mapping[str, np.ndarray], shares: Mapping[str, np.ndarray], rows: np.ndarray, key: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Return labels of some rows, drawn where annotators differ.

    Args:
        labels: by task, as blocks hold them: int64 (n,) or int8 (n, L).
        shares: of the tasks that have any, float32 (n, outputs): how many of those annotators who say anything say so;
            NaN where they agree, or say nothing.
        rows: their numbers, integer (n,).
        key: integers, not negative, that every step and dataset changes. What is drawn for a row is a function of key
            and row.
    """
    drawn = dict(labels)
    for task, of_task in shares.items():
        differ = ~np.isnan(of_task)
        if not differ.any():
            continue
        stream = key_of(_STREAM, *key, zlib.crc32(task.encode()))
        if labels[task].ndim > 1:  # each label on its own
            holds = uniform_draws(stream, rows, of_task.shape[1]) < of_task
            drawn[task] = np.where(differ, holds, labels[task]).astype(labels[task].dtype)
            continue
        ends = np.nan_to_num(of_task).astype(np.float64).cumsum(axis=1)
        place = (uniform_draws(stream, rows, 1) * ends[:, -1:] >= ends).sum(axis=1)
        drawn[task] = np.where(differ.any(axis=1), place, labels[task])
    return drawn
