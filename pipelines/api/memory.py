"""Data in memory as a source: written once as Parquet below storage.path, named by what it holds.

So a case built in a program is one like any other: its ingest runs on a cluster, is resumed, and is found again.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.base.storage import join, kind_of, write_whole

INPUT = "input"  # the column of inputs, where the data themselves have no names
_ROWS_AT_ONCE = 1024
_IMAGE_DIMENSIONS = 2  # of an array a row: height x width, and more


def is_in_memory(source: Any) -> bool:
    """Say whether a dataset's source is data rather than settings."""
    return source is not None and not (isinstance(source, Mapping) and "kind" in source)


def keep_in_memory_data(data: Any, names: Sequence[str], name: str, storage: str) -> tuple[str, list[str]]:
    """Write data as Parquet; return the file, and the names of its columns.

    Args:
        data: a pandas.DataFrame, a pyarrow.Table, a ray.data.Dataset, a Hugging Face Dataset, a torch Dataset of
            (input, label, ...) or of mappings, NumPy arrays by name, or a tuple of them.
        names: what the parts of tuples are called, after the input.
        name: the dataset's.
        storage: the path or URL below which it is written.

    Raises:
        UserError: it is none of these, or empty.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "data.parquet"
        if hasattr(data, "to_parquet") and hasattr(data, "features"):  # Hugging Face's, with its images and classes
            data.to_parquet(str(file))
        else:
            _write(file, _tables(data, names, name))
        content = file.read_bytes()
    columns = list(pq.read_schema(pa.BufferReader(content)).names)
    place = join(storage, "sources", f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.parquet")
    if kind_of(place) != "file":
        write_whole(place, content)
    return place, columns


def _write(file: Path, tables: Iterator[pa.Table]) -> None:
    first = next(tables, None)
    if first is None or not first.num_columns:
        raise UserError("source: found no rows; expected at least one")
    with pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table.cast(first.schema))


def _tables(data: Any, names: Sequence[str], name: str) -> Iterator[pa.Table]:
    kind = type(data).__module__
    if isinstance(data, pa.Table):
        yield data
    elif kind.startswith("pandas") and hasattr(data, "columns"):
        yield pa.table({str(column): _column(data[column].tolist(), str(column)) for column in data.columns})
    elif kind.startswith("ray.data"):
        for batch in data.iter_batches(batch_size=_ROWS_AT_ONCE, batch_format="numpy"):
            yield _of_arrays(batch)
    elif isinstance(data, Mapping):
        yield _of_arrays(data)
    elif isinstance(data, tuple) and all(hasattr(part, "shape") for part in data):
        yield _of_arrays(dict(zip([INPUT, *names], data, strict=False)))
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes):
        yield from _of_items(data, names)
    else:
        raise UserError(
            f"datasets.{name}.source: found {type(data).__name__}; expected settings with a kind, a pandas.DataFrame, "
            "a pyarrow.Table, a ray.data.Dataset, a Hugging Face or torch Dataset, or NumPy arrays by name"
        )


def _of_arrays(arrays: Mapping[str, Any]) -> pa.Table:
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UserError(f"source: found columns of {lengths} rows; expected as many in each")
    return pa.table({str(name): _column(np.asarray(values), str(name)) for name, values in arrays.items()})


def _of_items(data: Any, names: Sequence[str]) -> Iterator[pa.Table]:
    for start in range(0, len(data), _ROWS_AT_ONCE):
        rows = [_item(data[i], names) for i in range(start, min(start + _ROWS_AT_ONCE, len(data)))]
        yield pa.table({column: _column([row[column] for row in rows], column) for column in rows[0]})


def _item(item: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(item, Mapping):
        return {str(key): value for key, value in item.items()}
    parts = list(item) if isinstance(item, tuple | list) else [item]
    if len(parts) - 1 > len(names):
        raise UserError(
            f"source: found items of an input and {len(parts) - 1} labels; expected their names: "
            "source: {data: DATASET, columns: [...]}"
        )
    return dict(zip([INPUT, *names], parts, strict=False))


def _column(values: Any, name: str) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object:
        return pa.array(values)
    first = next((value for value in values if value is not None), None)
    if _is_image(first):
        return pa.array([None if value is None else _png(value, name) for value in values], pa.binary())
    plain = [value if value is None else _plain(value) for value in values]
    try:
        return pa.array(plain, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # cells of mixed types, as the text that a CSV file would hold
        return pa.array([None if value is None else str(value) for value in plain], pa.string())


def _plain(value: Any) -> Any:
    if hasattr(value, "detach"):  # torch.Tensor
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return value


def _is_image(value: Any) -> bool:
    return isinstance(value, Image.Image) or getattr(value, "ndim", 0) >= _IMAGE_DIMENSIONS


def _png(value: Any, name: str) -> bytes:
    """Return an image as PNG, which loses nothing of 8 bits."""
    if not isinstance(value, Image.Image):
        pixels = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        if hasattr(value, "detach") and pixels.ndim == 3:  # torch's way: channels first
            pixels = pixels.transpose(1, 2, 0)
        if pixels.dtype.kind == "f":
            if pixels.min(initial=0) < 0 or pixels.max(initial=0) > 1:
                raise UserError(
                    f"source: column {name!r}: found pixels from {pixels.min():g} to {pixels.max():g}; expected uint8, "
                    "or floating point from 0 to 1"
                )
            pixels = np.rint(pixels * 255)
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[:, :, 0]
        if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
            raise UserError(f"source: column {name!r}: found an array of shape {pixels.shape}; expected an image")
        value = Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))
    sink = io.BytesIO()
    value.save(sink, format="PNG", compress_level=1)
    return sink.getvalue()


def first_of(columns: Iterable[str], *candidates: str) -> str | None:
    """Return the first candidate that is a column."""
    present = set(columns)
    return next((one for one in candidates if one in present), None)
