"""The columns that vectors come from: the same in every dataset, and of a like spread where they are not scaled."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipelines.base.errors import UserError
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.case import Case
from pipelines.case.data import VectorInput

_ROWS_LOOKED_AT = 4096
_WIDEST = 100.0  # times the narrowest column's spread


def check_same_columns(by_data_set: Mapping[str, Sequence[str]]) -> None:
    """Refuse datasets whose vectors come from different columns, or from the same in another order.

    Raises:
        UserError: names the datasets and the first column that differs.
    """
    named = {name: list(columns) for name, columns in by_data_set.items() if columns}
    if not named:
        return
    first, expected = next(iter(named.items()))
    for name, columns in named.items():
        if columns == expected:
            continue
        if sorted(columns) == sorted(expected):
            where = "the same in another order"
        else:
            lacking = [column for column in expected if column not in columns]
            more = [column for column in columns if column not in expected]
            where = f"without {', '.join(lacking[:3]) or 'none'} and with {', '.join(more[:3]) or 'none'} instead"
        raise UserError(
            f"datasets.{name}.source.vector_columns: found {_short(columns)}: those of datasets.{first} "
            f"({_short(expected)}) {where}; expected the same columns in the same order in every dataset "
            "(input.columns declares them once)"
        )


def _short(columns: Sequence[str]) -> str:
    return ", ".join(columns[:6]) + (", ..." if len(columns) > 6 else "")


def spread_warnings(case: Case, made: DataSets) -> Iterator[str]:
    """Yield what is to be told where unscaled numbers have very different spreads: the widest drowns the others."""
    declared = case.input
    if not isinstance(declared, VectorInput) or declared.mean == "measured" or declared.std == "measured":
        return
    scales = np.broadcast_to(np.asarray(declared.std, dtype=np.float64), (declared.size,))
    for name, manifest in made.of_split("train").manifests.items():
        reader = BlockReader(local_blocks(made.folders[name], manifest), [], manifest.excluded)
        if len(reader) < 2:
            continue
        values = reader.gather(np.arange(min(len(reader), _ROWS_LOOKED_AT))).inputs.astype(np.float64)
        spread = np.nanstd(values, axis=0) / scales
        varying = np.flatnonzero(spread > 0)
        if len(varying) < 2:
            continue
        low, high = (int(varying[pick(spread[varying])]) for pick in (np.argmin, np.argmax))
        if spread[high] > _WIDEST * spread[low]:
            columns = manifest.vector_columns
            names = [columns[i] if len(columns) == declared.size else f"number {i}" for i in (low, high)]
            yield (
                f"{name}: the spread of {names[1]} is {spread[high]:.3g}, of {names[0]} {spread[low]:.3g}; "
                "input.mean: measured and input.std: measured scale each to mean 0 and spread 1"
            )
            return
