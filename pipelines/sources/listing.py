"""Listing: the rows of a source before any input is read, with stable ids, input locations and label columns."""

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.sources.places import Place
from pipelines.sources.tree import FILES

ROWS = pa.schema(
    [
        ("id", pa.string()),  # stable: the input's path below the source, or the row's number in its file
        ("source", pa.string()),  # the place, as the case file names it
        *(FILES.field(name) for name in FILES.names if name != "name"),
        ("row", pa.int64()),  # the row of the table in that file; null where the file is the input itself
        ("vector", pa.list_(pa.float32())),  # the input, where it travels with the row; else null
    ]
)


@dataclass(frozen=True)
class Listing:
    """The rows of a source, in no order that matters.

    Attributes:
        rows: schema ``ROWS``.
        fields: the source's own columns, as many rows; for images in folders, ``folder``.
        notes: what else is to be known, by how many files or lines it is about: none of them is a row of its own.
        vector_columns: of vectors from a table, the names of the columns that hold the numbers, in order.
    """

    rows: pa.Table
    fields: pa.Table
    notes: Mapping[str, int] = field(default_factory=dict)
    vector_columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def take(self, indices: pa.Array) -> "Listing":
        """Return some of the rows."""
        return replace(self, rows=self.rows.take(indices), fields=self.fields.take(indices))

    def sorted_by_id(self) -> "Listing":
        """Return the rows in the order of their ids; where they stand in it, no second copy of them is made."""
        ids = self.rows["id"]
        if pc.all(pc.less_equal(ids[:-1], ids[1:])).as_py():
            return replace(self, rows=self.rows.combine_chunks(), fields=self.fields.combine_chunks())
        return self.take(pc.sort_indices(ids))

    def with_notes(self, notes: Mapping[str, int]) -> "Listing":
        """Return the same rows with more notes; those of nothing are left out."""
        together = Counter(self.notes) + Counter(notes)
        return replace(self, notes=dict(together))


def of_files(place: Place, ids: pa.Array, files: pa.Table, fields: pa.Table) -> Listing:
    """List rows whose inputs are files.

    Args:
        place: the rows' source.
        ids: string.
        files: schema ``pipelines.sources.tree.FILES``, a row each.
        fields: the source's own columns, a row each.
    """
    n = len(files)
    columns = {name: files[name] for name in FILES.names if name != "name"}
    rows = {"id": _prefixed(place, pc.fill_null(ids, "")), "source": _repeat(place.name, n), **columns}
    empty = {"row": pa.nulls(n, pa.int64()), "vector": pa.nulls(n, ROWS.field("vector").type)}
    return Listing(pa.table(rows | empty, schema=ROWS), fields)


def resolve_relative(place: Place, names: pa.Array) -> pa.Array:
    """Return the names of files, which a table gives relative to its own folder, as its tree has them."""
    assert place.file is not None
    folder = posixpath.dirname(place.file)
    if not folder:
        return names
    return pc.if_else(pc.starts_with(names, "/"), names, pc.binary_join_element_wise(folder, names, "/"))


def of_table(place: Place, table: pa.Table, fields: pa.Table, ids: pa.Array | None = None) -> Listing:
    """List rows whose inputs stand in a table's own file.

    Args:
        place: the rows' source, a file.
        table: one row of schema FILES: the file.
        fields: the source's own columns, one row per input.
        ids: string; the rows' numbers if None.
    """
    n = fields.num_rows
    file = table.slice(0, 1).to_pylist()[0]
    rows = {"id": _numbered(place, n) if ids is None else _prefixed(place, ids), "source": _repeat(place.name, n)}
    rows |= {name: _repeat(file[name], n, ROWS.field(name).type) for name in FILES.names if name != "name"}
    rows |= {"row": pa.array(range(n), pa.int64()), "vector": pa.nulls(n, ROWS.field("vector").type)}
    return Listing(pa.table(rows, schema=ROWS), fields)


def with_vectors(
    listing: Listing, vectors: pa.Array, reasons: Sequence[str | None] = (), columns: tuple[str, ...] = ()
) -> Listing:
    """Let every row carry its input, a list of float32.

    Args:
        listing: the rows.
        vectors: lists of float32, a row each.
        reasons: why a row cannot be used, a row each; none where not given.
        columns: the names of the columns that the numbers come from.
    """
    rows = listing.rows.set_column(ROWS.get_field_index("vector"), ROWS.field("vector"), vectors)
    if any(reason is not None for reason in reasons):
        refused = pc.coalesce(rows["refused"], pa.chunked_array([pa.array(reasons, pa.string())]))
        rows = rows.set_column(ROWS.get_field_index("refused"), ROWS.field("refused"), refused)
    return replace(listing, rows=rows, vector_columns=columns)


def rejected(place: Place, reason: str) -> Listing:
    """List one row for a place of which nothing can be listed."""
    return rejected_rows(place, [place.name], [reason], pa.table({"place": [str(place)]}))


def rejected_rows(place: Place, ids: Sequence[str], reasons: Sequence[str], fields: pa.Table) -> Listing:
    """List rows that cannot be read, each for its reason."""
    n = len(ids)
    columns = {field.name: pa.nulls(n, field.type) for field in ROWS}
    columns |= {"id": pa.array(ids, pa.string()), "source": _repeat(place.name, n)}
    return Listing(pa.table(columns | {"refused": pa.array(reasons, pa.string())}, schema=ROWS), fields)


def joined(listings: Sequence[Listing]) -> Listing:
    """Put the rows of several places together; a column that one of them lacks is null there."""
    if len(listings) == 1:
        return listings[0]
    fields = [listing.fields for listing in listings]
    try:
        together = pa.concat_tables(fields, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # the same column as numbers here and as text there
        together = pa.concat_tables(_of_same_types(fields), promote_options="permissive")
    notes: Counter[str] = Counter()
    for listing in listings:
        notes.update(listing.notes)
    columns = {listing.vector_columns: None for listing in listings if listing.vector_columns}
    if len(columns) > 1:
        first, other = list(columns)[:2]
        raise UserError(
            f"the columns that hold the numbers are {', '.join(first)} in one file and {', '.join(other)} in another; "
            "expected the same in all, in the same order"
        )
    rows = pa.concat_tables([listing.rows for listing in listings])
    return Listing(rows, together, dict(notes), next(iter(columns), ()))


def check_names_differ(names: Sequence[str], place: object) -> None:
    """Refuse a table with two columns of one name: nothing says which of them is meant.

    Raises:
        UserError: names the first such column.
    """
    if len(set(names)) < len(names):
        twice = min(name for name, n in Counter(names).items() if n > 1)
        raise UserError(f"{place}: found two columns {twice!r}; expected every name once")


def column(fields: pa.Table, name: str, place: object) -> pa.ChunkedArray:
    """Return a column of a source.

    Raises:
        UserError: there is no such column; the nearest is told.
    """
    if name not in fields.column_names:
        raise UserError(f"{place}: there is no column {name!r}{did_you_mean(name, fields.column_names)}")
    return fields[name]


def matching_columns(names: Sequence[str], patterns: Sequence[str], place: object) -> list[str]:
    """Return the columns that names or patterns (``feature_*``) stand for, numbers within names in numeric order.

    Raises:
        UserError: there is none for one of them.
    """
    matched: dict[str, None] = {}
    there = set(names)
    for pattern in patterns:
        if "*" in pattern:
            fits = _expression(pattern).fullmatch
            matches = sorted((name for name in names if fits(name)), key=_natural)
        else:
            matches = [pattern] if pattern in there else []
        if not matches:
            raise UserError(f"{place}: there is no column {pattern!r}{did_you_mean(pattern, names)}")
        matched |= dict.fromkeys(matches)
    return list(matched)


def matches_pattern(name: str, pattern: str) -> bool:
    """Say whether a column's name is one, or as a pattern like ``feature_*`` has it."""
    return bool(_expression(pattern).fullmatch(name))


def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")), re.DOTALL)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _of_same_types(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Make text of every column whose types do not go together."""
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field_ in table.schema:
            if not pa.types.is_null(field_.type):
                kinds.setdefault(field_.name, set()).add(field_.type)
    differ = {name for name, of in kinds.items() if len(of) > 1 and not _go_together(of)}
    return [
        pa.table({name: _text_of(table[name]) if name in differ else table[name] for name in table.column_names})
        for table in tables
    ]


def _go_together(kinds: Iterable[pa.DataType]) -> bool:
    try:
        pa.unify_schemas([pa.schema([("x", kind)]) for kind in kinds], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return False
    return True


def _text_of(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_nested(values.type):  # as a CSV file would hold it
        texts = [None if one is None else json.dumps(one, default=str) for one in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pc.cast(values, pa.string())


def _prefixed(place: Place, ids: pa.Array) -> pa.Array:
    return ids if place.alone else pc.binary_join_element_wise(place.name, ids, "/")


def _numbered(place: Place, n: int) -> pa.Array:
    assert place.file is not None
    name = posixpath.basename(place.file) if place.alone else place.name
    return row_numbers(name, n)


def named_or_numbered(place: Place, ids: pa.Array) -> pa.Array:
    """Return ids, and in the place of one that is empty the number of its row."""
    empty = pc.equal(pc.fill_null(ids, ""), "")
    if not pc.any(empty).as_py():
        return ids
    assert place.file is not None
    return pc.if_else(empty, row_numbers(posixpath.basename(place.file), len(ids)), ids)


def row_numbers(name: str, n: int) -> pa.Array:
    """Return ids for the rows of a table that has none: its name, and their numbers in an order that is theirs."""
    return pa.array([f"{name}#{i:09d}" for i in range(n)], pa.string())


def _repeat(value: str | int | None, n: int, kind: pa.DataType | None = None) -> pa.Array:
    return pa.nulls(n, kind) if value is None else pa.repeat(pa.scalar(value, kind or pa.string()), n)
