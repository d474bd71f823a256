"""Mean and spread of the training inputs, where a case asks for these: ``input.mean: measured``."""

import numpy as np

from pipelines.base.progress import bar
from pipelines.batches.batch import open_readers
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.data import PictureInput, VectorInput

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
    width = case.input.shape[0]
    n, first, second = np.zeros(width), np.zeros(width), np.zeros(width)
    readers = open_readers(case, data_sets, "train")
    with bar("measure inputs", sum(len(reader) for reader in readers.values()), "rows") as shown:
        done = 0
        for reader in readers.values():
            for start in range(0, len(reader), _ROWS_AT_ONCE):
                inputs = reader.gather(np.arange(start, min(start + _ROWS_AT_ONCE, len(reader)))).inputs
                values = inputs.astype(np.float64) / (255 if isinstance(case.input, PictureInput) else 1)
                axes = (0, *range(2, values.ndim))
                n += values.size // width - np.isnan(values).sum(axis=axes)  # a missing value takes no part
                first += np.nansum(values, axis=axes)
                second += np.nansum(np.square(values), axis=axes)
                done += len(inputs)
                shown.show(done)
    mean = first / np.maximum(n, 1)
    std = np.sqrt(np.maximum(second / np.maximum(n, 1) - mean**2, 0))
    std = np.where(std < _LEAST_STD, 1.0, std)
    columns = case.input.table_columns if isinstance(case.input, VectorInput) else ()
    plain = [one for column in columns for one in column.plain]
    if len(plain) == width:  # categories and the like stay 0 and 1; of a pattern's columns one does not know here
        mean, std = np.where(plain, 0.0, mean), np.where(plain, 1.0, std)
    measured = {"mean": tuple(mean.tolist()), "std": tuple(std.tolist())}
    changed = case.input.model_copy(update={key: measured[key] for key in keys})
    return case.model_copy(update={"input": changed})
