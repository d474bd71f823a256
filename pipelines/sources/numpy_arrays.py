"""NumPy arrays with one row per input: an ``.npz`` file, or ``.npy`` files beside each other. Nothing is unpickled."""

import io
import posixpath
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError, one_line
from pipelines.base.storage import StorageUnavailableError, open_file
from pipelines.sources.fetch import fetch_one
from pipelines.sources.listing import Listing, of_table
from pipelines.sources.places import Place
from pipelines.sources.source import SourceSettings


class NumpyArrays(SourceSettings):
    """Arrays with a row an input: one ``.npz`` file with all of them, or ``.npy`` files.

    ``array`` is the inputs' (float, n x size, or uint8 images) in an ``.npz`` file, whose other arrays are columns;
    beside a ``.npy`` file of inputs, ``columns`` names a file for every column. A column of n x L values that hold
    or not is a multilabel column.
    """

    of_files: ClassVar[bool] = True

    kind: Literal["numpy"]
    array: str = "x"
    """The inputs' array in an .npz file."""
    columns: dict[str, str] = {}
    """By column, its .npy file."""

    def list_rows(self, place: Place) -> Listing:
        """List the rows of arrays."""
        return list_numpy(place, self)

    def read_rows(self, file: dict[str, Any], wanted: Sequence[int]) -> Iterator[bytes | np.ndarray | Exception]:
        """Read rows of a file."""
        return read_numpy_rows(file, wanted, self)


_MOST_IN_A_COLUMN = 2  # dimensions: n values, or n x L labels


def list_numpy(place: Place, source: NumpyArrays) -> Listing:
    """List the rows of arrays; columns are the arrays beside the inputs'.

    Raises:
        UserError: a file is no array, an array is missing, or their lengths differ.
    """
    assert place.file is not None
    tree = place.tree()
    files = tree.find(pa.array([place.file]))
    file = files.to_pylist()[0]
    if place.file.endswith(".npz"):
        with _npz(file, place) as arrays:
            if source.array not in arrays:
                raise UserError(f"{place}: there is no array {source.array!r}{did_you_mean(source.array, arrays)}")
            inputs = _loaded(arrays, source.array, place)
            if not inputs.ndim:
                raise UserError(f"{place}, array {source.array!r}: found one value; expected one row an input")
            n = len(inputs)
            column_values = {name: _loaded(arrays, name, place) for name in arrays if name != source.array}
    else:
        n = _shape(file, place)[0]
        folder = posixpath.dirname(place.file)
        column_values = {
            name: _array(tree.read(posixpath.join(folder, file_name)), f"{place}, column {name!r}")
            for name, file_name in source.columns.items()
        }
    columns: dict[str, pa.Array] = {}
    alone = 0
    for name, values in column_values.items():
        if not values.ndim:  # a number of the whole file, or a member that is no array
            alone += 1
            continue
        if len(values) != n:
            raise UserError(f"{place}: the column {name!r} has {len(values)} rows; expected {n}, one per input")
        if values.ndim <= _MOST_IN_A_COLUMN:
            columns[name] = pa.array(values.tolist() if values.ndim > 1 else values)
    fields = pa.table(columns) if columns else pa.table({"row": pa.array(range(n), pa.int64())})
    return of_table(place, files, fields).with_notes({"members of an .npz file that hold one value, no rows": alone})


def read_numpy_rows(file: dict[str, Any], rows: Sequence[int], source: NumpyArrays) -> Iterator[np.ndarray | Exception]:
    """Yield the inputs of some rows in the order asked for.

    Args:
        file: the ``.npy`` or ``.npz`` file, as a tree listed it, and its ``source``.
        rows: the rows' numbers.
        source: which array the inputs are in.
    """
    name = file["source"]
    if name.endswith(".npz"):
        with _npz(file, name) as arrays:
            values = arrays[source.array]
        for row in rows:
            yield values[row]
        return
    if file["codec"] != "file":
        values = _array(fetch_one(file), name)
        for row in rows:
            yield values[row]
        return
    shape, fortran, kind, start = _header(file, name)
    width = int(np.prod(shape[1:], dtype=np.int64))
    with open_file(file["file"]) as stream:
        if fortran and len(shape) > 1:  # a row lies scattered
            values = _array(stream.read(), name)
            for row in rows:
                yield values[row]
            return
        for row in rows:
            stream.seek(start + row * width * kind.itemsize)
            yield np.frombuffer(stream.read(width * kind.itemsize), dtype=kind).reshape(shape[1:])


def _npz(file: dict[str, Any], place: object) -> Any:
    try:
        stream: Any = open_file(file["file"]) if file["codec"] == "file" else io.BytesIO(fetch_one(file))
        loaded = np.load(stream, allow_pickle=False)
        assert isinstance(loaded, np.lib.npyio.NpzFile)
        return loaded
    except (OSError, ValueError, AssertionError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{place}: cannot be read as an .npz archive: {error}") from None


def _loaded(arrays: Any, name: str, place: object) -> np.ndarray:
    try:
        return np.asarray(arrays[name])
    except (StorageUnavailableError, MemoryError):
        raise
    except Exception as error:  # numpy reads a header as Python, zipfile checks what it can: each has its own errors
        raise UserError(f"{place}, array {name!r}: {one_line(error)}") from None


def _array(content: bytes, place: object) -> np.ndarray:
    try:
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    except (StorageUnavailableError, MemoryError):
        raise
    except Exception as error:  # numpy reads the header as Python: its tokenizer has errors of its own
        raise UserError(f"{place}: cannot be read as a .npy array: {one_line(error)}") from None


def _shape(file: dict[str, Any], place: object) -> tuple[int, ...]:
    return _header(file, place)[0]


def _header(file: dict[str, Any], place: object) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    stream: Any = open_file(file["file"]) if file["codec"] == "file" else io.BytesIO(fetch_one(file))
    try:
        with stream:
            version = npy.read_magic(stream)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, kind = read_header(stream)
            if kind.hasobject:
                raise ValueError("it holds Python objects, which are not unpickled")
            if not shape:
                raise ValueError("it holds one number, not rows")
            return shape, fortran, kind, stream.tell()
    except (ValueError, EOFError) as error:
        raise UserError(f"{place}: cannot be read as a .npy array: {error}") from None
