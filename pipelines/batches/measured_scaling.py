"""Mean and spread of the training inputs, where a case asks for these: ``input.mean: measured``."""

import numpy as np

from pipelines.base.progress import bar
from pipelines.batches.batch import open_readers
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.data import PictureInput

_ROWS_AT_ONCE = 512
_LEAST_STD = 1e-6  # of a channel or feature that is the same in every row


def with_measured_scaling(case: Case, data_sets: DataSets) -> Case:
    """Put numbers, one a channel or feature, where the case says ``measured``: those of the rows for training.

    Args:
        case: the case.
        data_sets: all of its datasets.
    """
    keys = [key for key in ("mean", "std") if getattr(case.input, key) == "measured"]
    if not keys:
        return case
    # Sums in float64, of all rows in one pass: the difference of large numbers at the end keeps its digits.
    n, first, second = 0, np.zeros(case.input.shape[0]), np.zeros(case.input.shape[0])
    readers = open_readers(case, data_sets, "train")
    with bar("measure inputs", sum(len(reader) for reader in readers.values()), "rows") as shown:
        done = 0
        for reader in readers.values():
            for start in range(0, len(reader), _ROWS_AT_ONCE):
                inputs = reader.gather(np.arange(start, min(start + _ROWS_AT_ONCE, len(reader)))).inputs
                values = inputs.astype(np.float64) / (255 if isinstance(case.input, PictureInput) else 1)
                axes = (0, *range(2, values.ndim))
                n += values.size // values.shape[1]
                first += values.sum(axis=axes)
                second += np.square(values).sum(axis=axes)
                done += len(inputs)
                shown.show(done)
    mean = first / n
    std = np.sqrt(np.maximum(second / n - mean**2, 0))
    measured = {"mean": tuple(mean.tolist()), "std": tuple(np.where(std < _LEAST_STD, 1.0, std).tolist())}
    changed = case.input.model_copy(update={key: measured[key] for key in keys})
    return case.model_copy(update={"input": changed})
