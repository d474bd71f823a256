"""Shared by the readers of published datasets: find files, read tables with line numbers, decode codes."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.sources.fetch import fetch
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PICTURE = r"\.(?i:jpe?g|png|bmp)$"
_FETCHED_AT_ONCE = 4096


def parts_of(source: PublishedSet, parts: Iterable[str]) -> list[str]:
    """Return the parts to read: the one that is asked for, or all.

    Raises:
        UserError: the set has no such part.
    """
    known = list(parts)
    if source.part is None:
        return known
    if source.part not in known:
        near = did_you_mean(source.part, known)
        raise UserError(f"{source.kind}: found part {source.part!r}, which the set does not have{near}")
    return [source.part]


def refuse_part(source: PublishedSet, hint: str = "") -> None:
    """Refuse ``part`` for a set that has no parts of its own; the hint names what divides the set."""
    if source.part is not None:
        hint = hint and f" ({hint})"
        raise UserError(
            f"{source.kind}: found part {source.part!r}, but the set has no parts of its own; expected no part{hint}"
        )


def refuse_intensity(source: PublishedSet, why: str = "the set has no action units") -> None:
    """Refuse ``intensity`` where there are no intensities to compare it with."""
    if source.intensity is not None:
        raise UserError(f"{source.kind}: found intensity {source.intensity}, but {why}; expected no intensity")


def locate(tree: Tree, source: PublishedSet, *endings: str) -> str:
    """Return the name of the file that ends with the first of some paths that is there, at any depth of the tree.

    Raises:
        UserError: there is none, or there are several that lie equally deep.
    """
    name = find(tree, source, *endings)
    if name is None:
        alternatives = " or ".join(repr(ending) for ending in endings)
        raise UserError(
            f"{source.kind}: {tree}: there is no {alternatives}, which the set's layout has; {_holds(tree)}"
        )
    return name


def find(tree: Tree, source: PublishedSet, *endings: str) -> str | None:
    """Return what ``locate`` does, or None where there is no such file."""
    names = tree.files["name"]
    for ending in endings:
        hit = pc.or_(pc.equal(names, ending), pc.ends_with(names, f"/{ending}"))
        matches = sorted(names.filter(hit).to_pylist(), key=lambda name: name.count("/"))
        if len(matches) > 1 and matches[0].count("/") == matches[1].count("/"):
            raise UserError(
                f"{source.kind}: {tree}: found both {matches[0]!r} and {matches[1]!r}; expected one of them"
            )
        if matches:
            return str(matches[0])
    return None


def matching(tree: Tree, pattern: str) -> pa.Table:
    """Return the files whose names hold a pattern (RE2): ``name``, and one column per named group of it."""
    names = tree.files["name"].combine_chunks()
    names = names.filter(pc.invert(pc.match_substring_regex(names, r"(^|/)__MACOSX/")))  # not images, but named so
    groups = pc.extract_regex(names, pattern)
    hit = groups.is_valid()
    table = pa.table({"name": names.filter(hit)})
    matched = groups.filter(hit)
    for field in matched.type:
        table = table.append_column(field.name, matched.field(field.name))
    return table


def nothing(tree: Tree, source: PublishedSet, missing: str) -> UserError:
    """Return the error for a layout of which there is nothing."""
    return UserError(f"{source.kind}: {tree}: there is no {missing}, which the set's layout has; {_holds(tree)}")


def _holds(tree: Tree) -> str:
    tops = sorted({name.partition("/")[0] + ("/" if "/" in name else "") for name in tree.names()})
    listed = ", ".join(tops[:10]) + (", ..." if len(tops) > 10 else "")
    return f"found {listed}" if tops else "found no files at all"


def malformed(tree: Tree, name: str, line: int, value: object, right: str) -> UserError:
    """Return the error for a line that is not as the layout has it."""
    return UserError(f"{tree}: {name!r}: line {line}: found {str(value)[:100]!r}; expected {right}")


def read_all(tree: Tree, names: pa.Array | pa.ChunkedArray) -> list[bytes]:
    """Return the bytes of many files.

    Asking the tree for one at a time would search an archive's list every time; and they are read in the order in which
    they lie in an archive, since going back in a compressed one is starting again.

    Raises:
        UserError: one of them cannot be read.
    """
    files = tree.find(names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names)
    name_list = names.to_pylist()
    for name, refused in zip(name_list, files["refused"].to_pylist(), strict=True):
        if refused is not None:
            raise UserError(f"{tree}: {name!r}: {refused}")
    contents = [b""] * len(files)
    order = pc.sort_indices(files["offset"])
    for start in range(0, len(order), _FETCHED_AT_ONCE):
        batch = order.slice(start, _FETCHED_AT_ONCE)
        for i, content in zip(batch.to_pylist(), fetch(files.take(batch)), strict=True):
            if isinstance(content, Exception):
                raise UserError(f"{tree}: {name_list[i]!r} cannot be read: {content}")
            contents[i] = content
    return contents


def parse(
    tree: Tree,
    name: str,
    raw: bytes,
    names: list[str],
    types: Mapping[str, pa.DataType],
    *,
    right: str,
    delimiter: str = ",",
    skip: int = 0,
    nulls: tuple[str, ...] = (),
    mend: Callable[[pacsv.InvalidRow], bool] | None = None,
) -> pa.Table:
    """Parse a table's bytes with pyarrow, and tell a malformed line by its number.

    Args:
        tree: where the file lies, for messages.
        name: the file's name, for messages.
        raw: the file's bytes.
        names: all its columns.
        types: the columns wanted and what is in them.
        right: what a line should be, for messages.
        delimiter: between fields; ``" "`` takes several blanks for one, except with ``mend``.
        skip: lines before the first row.
        nulls: cells that stand for nothing; an empty cell of a number is an error where they are not given.
        mend: is given a line of another number of fields, and says whether it took care of it.
    """
    if len(set(names)) < len(names):
        twice = next(column for column in names if names.count(column) > 1)
        raise malformed(tree, name, 1, f"{twice} twice", "every column once")
    raw = raw.rstrip(b"\r\n") + b"\n"  # what is left of blank lines are malformed ones
    if delimiter == " " and mend is None:
        raw = raw.replace(b"\t", b" ")
        while b"  " in raw:
            raw = raw.replace(b"  ", b" ")
        raw = raw.replace(b" \r", b"\r").replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ")
    if raw.count(b"\n") <= skip:
        return pa.table({column: pa.array([], kind) for column, kind in types.items()})

    def other_number_of_fields(row: pacsv.InvalidRow) -> str:
        return "skip" if mend is not None and mend(row) else "error"

    try:
        return pacsv.read_csv(
            pa.BufferReader(raw),
            # without threads it tells the number of a line; blank lines are kept, or the numbers would be others
            pacsv.ReadOptions(use_threads=False, skip_rows=skip, column_names=names, block_size=1 << 24),
            pacsv.ParseOptions(
                delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=other_number_of_fields
            ),
            pacsv.ConvertOptions(column_types=dict(types), include_columns=list(types), null_values=list(nulls)),
        )
    except pa.ArrowInvalid as error:
        match = re.search(r"Row #(\d+): (?:Expected .*? columns, got \d+: |CSV .*?invalid value )?(.*)", str(error))
        if match is None:
            raise UserError(f"{tree}: {name!r}: {error}; expected {right} a line") from None
        raise malformed(tree, name, int(match[1]), match[2].strip("'"), right) from None


def decode(
    tree: Tree,
    name: str,
    codes: pa.Array | pa.ChunkedArray,
    meaning: Mapping[int, Any],
    first_line: int = 1,
) -> pa.Array:
    """Return what codes mean: class names or truth values; None is "not annotated". A null stays one.

    Raises:
        UserError: a code that the set does not have.
    """
    codes = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    indices = pc.index_in(codes, pa.array(list(meaning), codes.type))
    unknown = pc.and_(pc.is_null(indices), pc.is_valid(codes))
    if pc.any(unknown).as_py():
        i = pc.index(unknown, True).as_py()
        listed = ", ".join(str(code) for code in meaning)
        raise malformed(tree, name, first_line + i, f"the code {codes[i]}", f"one of {listed}")
    return pa.array(list(meaning.values())).take(indices)


def truth(states: np.ndarray) -> pa.Array:
    """Return truth values of whole numbers: 1 holds, 0 does not, and less is "not annotated"."""
    return pa.array(states == 1, mask=states < 0)


def action_units(names: Iterable[str]) -> list[str]:
    """Return the names of action units among some columns, each once, by number."""
    return sorted({name for name in names if re.fullmatch(r"AU\d+", name)}, key=lambda name: int(name[2:]))


def coded_units(table: pa.Table) -> pa.Table:
    """Drop the action units that were coded nowhere; those left stand at the end, by number."""
    units = action_units(table.column_names)
    other_columns = [name for name in table.column_names if name not in units]
    return table.select(other_columns + [unit for unit in units if table[unit].null_count < len(table)])


def at_frames(pictures: pa.Table, labels: pa.Table) -> pa.Table:
    """Give labels of the frames of sequences to the images of these frames; the others of either are left out.

    An image's number is its frame where the numbers of its folder start above 0; where they start at 0, frame 1 is
    image 0.

    Args:
        images: ``name``, ``sequence``, ``number`` (digits).
        labels: ``sequence``, ``frame`` (int32, the first is 1), and what the images are to have.

    Returns:
        ``image``, and the columns of ``labels`` but its keys, by the images' names.
    """
    folders = pc.replace_substring_regex(pictures["name"], r"[^/]*$", "").combine_chunks().dictionary_encode()
    codes = np.asarray(folders.indices)
    numbers = np.asarray(pictures["number"].cast(pa.int32()))
    lowest = np.full(len(folders.dictionary), np.iinfo(np.int32).max, np.int32)
    np.minimum.at(lowest, codes, numbers)
    frames = numbers + (lowest[codes] == 0)
    keyed = pa.table({"picture": pictures["name"], "sequence": pictures["sequence"], "frame": frames.astype(np.int32)})
    joined = keyed.join(labels, ["sequence", "frame"], join_type="inner").sort_by("picture")
    return joined.select(["picture", *(name for name in labels.column_names if name not in ("sequence", "frame"))])
