"""Parquet files with one row per input: encoded bytes, pixels, a path, or numbers."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.base.errors import UserError
from pipelines.base.storage import open_ranges
from pipelines.sources.fetch import fetch_one
from pipelines.sources.image_folder import is_picture
from pipelines.sources.listing import (
    Listing,
    check_names_differ,
    column,
    matching_columns,
    named_or_numbered,
    of_files,
    of_table,
    resolve_relative,
)
from pipelines.sources.near_names import find_near
from pipelines.sources.places import NothingThereError, Place, find_places
from pipelines.sources.settings import Columns as ColumnNames
from pipelines.sources.signatures import is_encoded_image
from pipelines.sources.source import SourceSettings
from pipelines.sources.table_columns import Columns, TableColumn, encode, resolved


class ParquetTable(SourceSettings):
    """A Parquet file with a row an input.

    ``image_column`` holds the encoded image's bytes (also as ``{bytes, path}``, the Hugging Face way), its path
    relative to the table's folder (with ``file_prefix`` before it and ``file_suffix`` behind it), or its pixels
    (height x width or height x width x channels); ``vector_columns`` the numbers, where inputs are vectors: columns of
    numbers, or one column of lists. A folder stands for the files in it, as Spark, Dask and Ray Data write them;
    folders like ``split=train`` in a path are columns too. Text that is stored as bytes is read as text.
    """

    of_files: ClassVar[bool] = True

    kind: Literal["parquet", "hugging_face"]
    image_column: str = "image"
    """The column with the image: bytes, path or pixels."""
    vector_columns: Columns = ()
    """The columns that hold the numbers, names or patterns like ``feature_*``, where inputs are vectors; by default
    ``input.columns``."""
    label_columns: ColumnNames = ()
    """Those of them that labels are read from too; a label that is its own input is else refused."""
    id_column: str | None = None
    """The column with a row's name; its number by default."""
    file_prefix: str = ""
    """Before the path of every image."""
    file_suffix: str = ""
    """Behind it, like ``.jpg``."""

    def find_places(self, root: str) -> list[Place]:
        """Find the files; a folder stands for those in it."""
        found: list[Place] = []
        for path in self.path:
            try:
                found += find_places(root, [path], files=True)
            except NothingThereError:
                if "*" in path:
                    raise
                found += _files_in_folder(root, path)
        if len(self.path) == 1:
            return found
        unique = {(place.url.rstrip("/"), place.below, place.file): replace(place, alone=False) for place in found}
        return sorted(unique.values(), key=lambda place: (place.name, place.url))

    def list_rows(self, place: Place) -> Listing:
        """List the rows of a Parquet file."""
        return list_parquet(place, self)

    def read_rows(self, file: dict[str, Any], wanted: Sequence[int]) -> Iterator[bytes | np.ndarray | Exception]:
        """Read rows of a file."""
        return read_parquet_rows(file, wanted, self)


class HuggingFace(ParquetTable):
    """A dataset in the Parquet layout of Hugging Face's hub: ``data/train-00000-of-00002.parquet`` and the like.

    ``part`` is the set's own split, ``config`` its configuration. Classes stored as numbers get their names back.
    """

    kind: Literal["hugging_face"]
    part: str = "train"
    """The set's own split."""
    config: str | None = None
    """The set's configuration."""

    def find_places(self, root: str) -> list[Place]:
        """Find the files of the part, in the first of the hub's layouts that has any."""
        return [place for path in self.path for place in _files_of_part(root, path, self)]


def _files_in_folder(root: str, path: str) -> list[Place]:
    """Return the files of a dataset that a program has written into a folder, without its own records."""
    base = path.rstrip("/")
    try:
        found = find_places(root, [f"{base}/**.parquet" if base not in ("", ".") else "**.parquet"], files=True)
    except NothingThereError:
        raise NothingThereError(path) from None
    below = len(base.split("/")) if base not in ("", ".") else 0
    return [place for place in found if not any(part.startswith("_") for part in place.name.split("/")[below:])]


def _files_of_part(root: str, path: str, source: HuggingFace) -> list[Place]:
    for pattern in hugging_face_patterns(path, source):
        try:
            return find_places(root, [pattern], files=True)
        except NothingThereError:
            continue
    raise NothingThereError(path)


def list_parquet(place: Place, source: ParquetTable) -> Listing:
    """List the rows of a Parquet file; the inputs' column is left where it is.

    Raises:
        UserError: the file is not Parquet, or lacks a column.
    """
    assert place.file is not None
    tree = place.tree()
    at = tree.find(pa.array([place.file]))
    try:
        file = open_parquet(at.to_pylist()[0])
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{place}: cannot be read as Parquet: {error}") from None
    schema = file.schema_arrow
    check_names_differ(schema.names, place)
    columns = resolved(schema.names, source.vector_columns or (source.image_column,), place)
    names = [one.name for one in columns]
    kept = matching_columns(names, source.label_columns, place) if source.vector_columns else []
    inputs, kept_too = set(names), set(kept)
    others = [
        field.name
        for field in schema
        if (field.name not in inputs or field.name in kept_too)
        and (not _is_bytes(field.type) or _short_bytes(file, field))
    ]
    fields = _named(_plain(file.read(columns=others)), class_names(schema))
    for name, value in hive_partitions(place.name).items():
        if name not in fields.column_names:
            fields = fields.append_column(name, pa.repeat(pa.scalar(value, pa.string()), fields.num_rows))
    ids = column(fields, source.id_column, place).cast(pa.string()).combine_chunks() if source.id_column else None
    if not source.vector_columns and _holds_paths(file, schema.field(names[0]), source):
        paths = _plain(file.read(columns=names))[names[0]].cast(pa.string()).combine_chunks()
        of_files_names = paths
        if source.file_prefix or source.file_suffix:
            of_files_names = pc.binary_join_element_wise(source.file_prefix, paths, source.file_suffix, "")
        files, notes = find_near(tree, resolve_relative(place, of_files_names))
        listing = of_files(place, named_or_numbered(place, paths if ids is None else ids), files, fields)
        return listing.with_notes(notes)
    ids = None if ids is None else named_or_numbered(place, ids)
    listing = of_table(place, at, fields, ids)
    if not source.vector_columns or (len(names) == 1 and pa.types.is_nested(schema.field(names[0]).type)):
        return listing  # the numbers of a list have no names
    return replace(listing, vector_columns=tuple(names))


def hive_partitions(path: str) -> dict[str, str | None]:
    """Return the columns that the folders of a path name: ``split=train/part-0.parquet`` has a column ``split``.

    What Hive calls ``__HIVE_DEFAULT_PARTITION__`` is no value.
    """
    parts = (part.partition("=") for part in path.split("/")[:-1])
    found = {name: unquote(value) for name, equals, value in parts if equals and name}
    return {name: None if value == _HIVE_NULL else value for name, value in found.items()}


_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def open_parquet(file: dict[str, Any]) -> pq.ParquetFile:
    """Open a Parquet file that a tree listed, where it lies: on disk, in storage or in an archive.

    Raises:
        OSError, pyarrow.ArrowInvalid: it cannot be read.
    """
    if file["codec"] == "file":
        return pq.ParquetFile(open_ranges(file["file"]))
    return pq.ParquetFile(io.BytesIO(fetch_one(file)))


def read_parquet_rows(
    file: dict[str, Any], wanted: Sequence[int], source: ParquetTable
) -> Iterator[bytes | np.ndarray | Exception]:
    """Yield the inputs of some rows in the order asked for; for one that cannot be read, why.

    Args:
        file: the Parquet file, as a tree listed it.
        wanted: the rows' numbers.
        source: what the input's columns are.
    """
    table = open_parquet(file)
    columns = resolved(table.schema_arrow.names, source.vector_columns or (source.image_column,), file["file"])
    names = [one.name for one in columns]
    starts = np.cumsum([0, *(table.metadata.row_group(i).num_rows for i in range(table.metadata.num_row_groups))])
    rows = np.asarray(wanted)
    group_of = np.searchsorted(starts, rows, side="right") - 1
    if (np.diff(rows) >= 0).all():
        for group, places in groupby(range(len(rows)), key=lambda i: group_of[i]):
            part = table.read_row_group(int(group), columns=names)
            yield from _inputs(part.take(pa.array(rows[list(places)] - starts[group])), columns, source)
        return
    # Sorted by another column, rows lie all over the file: every group is read once, and the order made again.
    parts = [
        table.read_row_group(int(group), columns=names).take(pa.array(rows[group_of == group] - starts[group]))
        for group in np.unique(group_of)
    ]
    back = np.argsort(np.argsort(group_of, kind="stable"), kind="stable")
    yield from _inputs(pa.concat_tables(parts).take(pa.array(back)), columns, source)


def _inputs(
    part: pa.Table, columns: Sequence[TableColumn], source: ParquetTable
) -> Iterator[bytes | np.ndarray | Exception]:
    if source.vector_columns:
        for value, reason in zip(*encode(part, columns), strict=True):
            if reason is not None:
                yield ValueError(reason)
            else:
                yield np.asarray(value.values.to_numpy(zero_copy_only=False), dtype=np.float32)
    else:
        for value in part[columns[0].name]:
            yield _picture(value)


def _picture(value: Any) -> bytes | np.ndarray | Exception:
    found = value.as_py()
    if isinstance(found, dict):  # the Hugging Face layout: {"bytes": ..., "path": ...}
        found = found.get("bytes")
    if found is None:
        return ValueError("no image in this row")
    if isinstance(found, bytes):
        return found
    try:
        pixels = np.asarray(found, dtype=_pixel_type(value.type))
    except (ValueError, OverflowError, TypeError):
        return ValueError("neither an encoded image nor pixels")
    return ValueError("neither an encoded image nor pixels") if pixels.dtype.kind not in "buif" else pixels


def _pixel_type(kind: pa.DataType) -> Any:
    """Return the type of the numbers in lists of lists: a list of Python's has lost it."""
    while pa.types.is_nested(kind) and hasattr(kind, "value_type"):
        kind = kind.value_type
    return kind.to_pandas_dtype() if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    """Say whether a column holds bytes, as the images beside the one that is wanted do: no label stands there."""
    if pa.types.is_struct(kind):
        return any(_is_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return _is_raw(kind)


_MOST_BYTES_OF_TEXT = 4096  # a row, on average: more is no label, and not read to be looked at
_LOOKED_AT = 64  # rows


def _plain(table: pa.Table) -> pa.Table:
    """Return text as strings, however it is stored: as views, which pyarrow cannot take rows of, or as bytes."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type) or _is_raw(field.type):
            words = table[i].cast(pa.binary()) if _is_raw(field.type) else table[i]
            table = table.set_column(i, field.name, words.cast(pa.string()))
    return table


def _short_bytes(file: pq.ParquetFile, field: pa.Field) -> bool:
    """Say whether a column of bytes holds short text, as programs write it that know no strings."""
    if not _is_raw(field.type):
        return False
    at = file.schema_arrow.names.index(field.name)
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    if file.metadata.num_columns != len(file.schema_arrow.names):  # columns within columns come between
        at = next((k for k in range(file.metadata.num_columns) if file.schema.column(k).path == field.name), -1)
    size = sum(group.column(at).total_uncompressed_size for group in groups)
    if at < 0 or size > _MOST_BYTES_OF_TEXT * max(1, file.metadata.num_rows):
        return False
    try:
        file.read(columns=[field.name])[0].cast(pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:  # not UTF-8
        return False
    return True


def _holds_paths(file: pq.ParquetFile, field: pa.Field, source: ParquetTable) -> bool:
    """Say whether the inputs' column holds names of files: text, or bytes that are text and end as images' names do."""
    if _is_text(field.type):
        return True
    if not _is_raw(field.type):
        return False
    for batch in file.iter_batches(_LOOKED_AT, columns=[field.name]):
        some = [bytes(one) for one in batch.column(0).to_pylist() if one]
        if some:
            lines = all(len(one) <= _MOST_BYTES_OF_TEXT and _is_line(one) for one in some)
            return lines and any(is_picture(one.decode() + source.file_suffix) for one in some)
    return False


def _is_line(content: bytes) -> bool:
    try:
        return not is_encoded_image(content) and content.decode().isprintable()
    except UnicodeDecodeError:
        return False


def _is_raw(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the names of classes that Hugging Face's `datasets` keeps as numbers, by column."""
    import json

    kept = (schema.metadata or {}).get(b"huggingface")
    if kept is None:
        return {}
    try:
        features = json.loads(kept)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    found = {}
    for name, feature in features.items() if isinstance(features, dict) else ():
        of = feature
        while isinstance(of, dict) and of.get("_type") in ("Sequence", "List", "LargeList"):
            of = of.get("feature")
        of = of[0] if isinstance(of, list) and len(of) == 1 else of
        if isinstance(of, dict) and of.get("_type") == "ClassLabel" and isinstance(of.get("names"), list):
            found[name] = [str(one) for one in of["names"]]
    return found


def _named(fields: pa.Table, names: dict[str, list[str]]) -> pa.Table:
    for name, classes in names.items():
        if name not in fields.column_names:
            continue
        values = fields[name].combine_chunks()
        words = pa.array(classes, pa.string())
        if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
            flat = _word_of(values.flatten(), words)
            values = pa.array([None if v is None else v for v in values.to_pylist()], pa.list_(pa.int64()))
            named: Any = pa.ListArray.from_arrays(values.offsets, flat, mask=pc.is_null(values))
        else:
            named = _word_of(values, words)
        fields = fields.set_column(fields.column_names.index(name), name, named)
    return fields


def _word_of(numbers: pa.Array, words: pa.Array) -> pa.Array:
    """Return the word of every number; -1, as in a test split without labels, has none; any other stays."""
    known = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(words)))
    found = words.take(pc.if_else(known, numbers, None).cast(pa.int64()))
    return pc.coalesce(found, pc.if_else(pc.equal(numbers, -1), None, numbers.cast(pa.string())))


def hugging_face_patterns(path: str, source: HuggingFace) -> list[str]:
    """Return where the hub's layouts keep the files of a split, the likeliest first."""
    folders = [source.config] if source.config else ["data", "", "default", "plain_text"]
    base = path.rstrip("/")
    found = []
    for folder in folders:
        prefix = "/".join(part for part in (base, folder) if part not in ("", "."))
        prefix = f"{prefix}/" if prefix else ""
        found += [
            f"{prefix}{source.part}-*.parquet",
            f"{prefix}{source.part}/*.parquet",
            f"{prefix}{source.part}*.parquet",
        ]
    return found
