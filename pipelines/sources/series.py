"""Windows of a table with a time column: what was measured until now, and what is measured later."""

import io
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from pipelines.base.errors import UserError
from pipelines.base.section import Positive, PositiveFloat
from pipelines.sources.listing import Listing, column, matching_columns, of_table, with_vectors
from pipelines.sources.places import Place
from pipelines.sources.settings import Columns
from pipelines.sources.source import SourceSettings

PARTS = ("train", "validation", "test")


def _several(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class Series(SourceSettings):
    """A table with a row per time, CSV or Parquet, of which every window is an input.

    An input is the last ``window`` values of ``value_columns``, oldest first: ``window`` times as many numbers as
    columns. Of every target column ``c`` and horizon ``h`` there are the columns ``c_in_h``, its value ``h`` rows
    later, and ``c_rises_in_h``, whether that is above the window's last one; and ``time``, that of its last row.

    ``part`` takes one of three stretches of time, cut where ``fractions`` of all times are over, the same for every
    group. A window belongs to a part only if all of it and all of its horizons do, so no time of a test row, input or
    label, was seen in training.
    """

    of_files: ClassVar[bool] = True
    inputs: ClassVar[frozenset[str]] = frozenset({"vector"})

    kind: Literal["series"]
    time_column: str
    """Numbers, dates or times; rows are sorted by it."""
    value_columns: Columns = Field(min_length=1)
    """The columns that are inputs: names, or patterns like ``load_*``."""
    target_columns: Columns = ()
    """The columns that are asked for later; by default those of the inputs."""
    group_column: str | None = None
    """The column that says which of several series a row is of."""
    window: Positive
    """How many rows an input has."""
    horizons: Annotated[tuple[Positive, ...], BeforeValidator(_several), Field(min_length=1)] = (1,)
    """How many rows later the targets are."""
    part: Literal["train", "validation", "test"] | None = None
    """The stretch of time; all of it by default."""
    fractions: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.7, 0.15, 0.15)
    """How much of the time is for training, validation and test."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """Between the cells of a CSV file."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if abs(sum(self.fractions) - 1) > 1e-6:
            raise PydanticCustomError(
                "fractions", "fractions: found a sum of {sum}; expected 1", {"sum": f"{sum(self.fractions):g}"}
            )
        return self

    def list_rows(self, place: Place) -> Listing:
        """List the windows of a table."""
        assert place.file is not None
        tree = place.tree()
        table = _read(tree.read(place.file), place, self.delimiter)
        times = column(table, self.time_column, place).combine_chunks()
        groups = [""] * len(table)
        if self.group_column is not None:
            groups = column(table, self.group_column, place).cast(pa.string()).to_pylist()
        values = _numbers(table, self.value_columns, place)
        targets = _numbers(table, self.target_columns, place) if self.target_columns else values
        inputs, found = _windows(self, times, groups, values, targets, place)
        if not len(inputs):
            raise UserError(
                f"{place}: found no window of {self.window} rows with {max(self.horizons)} more behind it"
                f"{f' in the part {self.part!r}' if self.part else ''}; expected a longer table, or a shorter window"
            )
        listing = of_table(place, tree.find(pa.array([place.file])), found)
        offsets = pa.array(np.arange(len(inputs) + 1) * inputs.shape[1], pa.int32())
        return with_vectors(listing, pa.ListArray.from_arrays(offsets, pa.array(inputs.ravel())))


def _read(content: bytes, place: Place, delimiter: str) -> pa.Table:
    try:
        if content[:4] == b"PAR1":
            return pq.read_table(io.BytesIO(content))
        parsing = pyarrow.csv.ParseOptions(delimiter=delimiter)
        return pyarrow.csv.read_csv(io.BytesIO(content), parse_options=parsing)
    except pa.ArrowInvalid as error:
        raise UserError(f"{place}: cannot be read as a table: {error}") from None


def _numbers(table: pa.Table, names: Columns, place: Place) -> dict[str, np.ndarray]:
    found = {}
    for name in matching_columns(table.column_names, names, place):
        try:
            numbers = pc.cast(table[name], pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise UserError(f"{place}: the column {name!r} holds {table[name].type}; expected numbers") from None
        found[name] = numbers.to_numpy(zero_copy_only=False)
    return found


def _bounds(source: Series, times: pa.Array) -> tuple[int, int]:
    """Return the first place of the part in the sorted distinct times, and the one behind its last."""
    n = len(times)
    if source.part is None:
        return 0, n
    ends = [0, *(round(n * share) for share in np.cumsum(source.fractions))]
    at = PARTS.index(source.part)
    return ends[at], ends[at + 1]


def _windows(
    source: Series,
    times: pa.Array,
    groups: list[str],
    values: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    place: Place,
) -> tuple[np.ndarray, pa.Table]:
    """Return the inputs, float32 (n, window * columns), and the columns of targets, of every group's windows."""
    if times.null_count:
        raise UserError(f"{place}: the column {source.time_column!r} has {times.null_count} empty cells; expected none")
    distinct = pc.unique(times)
    distinct = distinct.take(pc.sort_indices(distinct))
    when = pc.index_in(times, distinct).to_numpy(zero_copy_only=False)
    low, high = _bounds(source, distinct)
    whole = np.stack(list(values.values()), axis=1)
    inputs: list[np.ndarray] = []
    now_at: list[np.ndarray] = []
    later_at: list[np.ndarray] = []
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    for group in sorted(members):
        rows = np.array(members[group])
        rows = rows[np.argsort(when[rows], kind="stable")]
        if (np.diff(when[rows]) == 0).any():
            of = f" of the series {group!r}" if source.group_column else ""
            raise UserError(f"{place}: a time stands in two rows{of}; expected one row per time (group_column?)")
        rows = rows[(when[rows] >= low) & (when[rows] < high)]
        n = len(rows) - source.window - max(source.horizons) + 1
        if n < 1:
            continue
        within = np.arange(n)[:, None] + np.arange(source.window)
        inputs.append(whole[rows[within]].reshape(n, -1))
        now_at.append(rows[within[:, -1]])
        later_at.append(rows[within[:, -1:] + np.array(source.horizons)])
    if not inputs:
        return np.zeros((0, 1), np.float32), pa.table({})
    now, later = np.concatenate(now_at), np.concatenate(later_at)
    found: dict[str, Any] = {"time": times.take(pa.array(now))}
    if source.group_column is not None:
        found["group"] = pa.array(groups).take(pa.array(now))
    for name, of_target in targets.items():
        for k, horizon in enumerate(source.horizons):
            then, before = of_target[later[:, k]], of_target[now]
            unknown = ~np.isfinite(then)
            found[f"{name}_in_{horizon}"] = pa.array(then, mask=unknown)
            found[f"{name}_rises_in_{horizon}"] = pa.array(then > before, mask=unknown | ~np.isfinite(before))
    return np.concatenate(inputs).astype(np.float32), pa.table(found)
