"""The records of a CSV file and the lines on which they stand, so that a stray quotation mark hides no row."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_QUOTED = re.compile(rb'"(?:[^"]|"")*"')
_OPEN_TO_THE_END = re.compile(rb'"(?:[^"]|"")*\Z')


class StrayQuoteError(ValueError):
    """A quotation mark that opens a cell which ends in no sensible place."""


@dataclass(frozen=True)
class Records:
    """A table's text, sorted out.

    Attributes:
        content: the header and the rows that have as many cells as it, a line feed after each.
        broken: every other row: its line's number (from 1), what is wrong with it, and the row itself.
        lines: of more than one line a row: how many lines more than rows there are.
    """

    content: bytes
    broken: Sequence[tuple[int, str, str]]
    lines: int


def sort_out(content: bytes, delimiter: bytes, *, quotes: bool, multiline: bool) -> Records:
    """Tell whole rows from broken ones.

    Args:
        content: of the file.
        delimiter: between cells, one byte.
        quotes: whether a cell may stand in quotation marks.
        multiline: a cell in quotation marks may go over lines that look like rows themselves.

    Raises:
        StrayQuoteError: a cell's quotation mark is not closed before the file ends, or only on a later line, and the
            lines up to there look like rows.
    """
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    quotes = quotes and b'"' in content
    whole: list[bytes] = []
    broken: list[tuple[int, str, str]] = []
    header, width, more = b"", 0, 0
    for number, record, cells in _records(lines, delimiter, quotes, multiline):
        more += record.count(b"\n")
        if not width:
            header, width = record, cells
        elif cells != width:
            why = (
                "text behind a closing quotation mark" if cells < 0 else f"{cells} columns where the table has {width}"
            )
            broken.append((number, why, record.decode(errors="replace")))
            continue
        elif record == header and width > 1:
            broken.append((number, "repeated header", record.decode(errors="replace")))
            continue
        whole.append(record)
    return Records(b"\n".join([*whole, b""]), broken, more)


def _records(
    lines: Sequence[bytes], delimiter: bytes, quotes: bool, multiline: bool
) -> Iterator[tuple[int, bytes, int]]:
    """Yield the first line's number, the text, and the number of cells (-1: one is broken) of every record."""
    width, i = 0, 0
    while i < len(lines):
        line, start = lines[i], i
        i += 1
        if not line.strip():
            continue
        if not quotes or b'"' not in line:
            cells = line.count(delimiter) + 1
        else:
            cells = _cells(line, delimiter)
            if cells == 0:  # a quotation mark is still open
                parts = [line]
                while cells == 0 and i < len(lines):
                    parts.append(lines[i])
                    i += 1
                    if b'"' in parts[-1]:
                        cells = _cells(b"\n".join(parts), delimiter)
                swallowed = [part for part in parts[1:] if part.strip()]
                looks = sum(part.count(delimiter) + 1 == width for part in swallowed)
                if cells <= 0 or (width > 1 and looks and not multiline):
                    raise StrayQuoteError(_stray(start + 1, i, looks, closed=cells != 0))
                line = b"\n".join(parts)
        width = width or cells
        yield start + 1, line, cells


def _stray(opened: int, last: int, looks: int, *, closed: bool) -> str:
    closes = f"is closed on line {last}" if closed else "is never closed"
    rows = f", and {looks} of the lines up to there look like rows" if looks else ""
    return (
        f"line {opened}: a quotation mark opens a cell here and {closes}{rows}; expected both marks on one line "
        "(source.quoting: none reads quotation marks as text, multiline lets cells go over such lines)"
    )


def _cells(record: bytes, delimiter: bytes) -> int:
    """Return how many cells a record has: 0 where a quotation mark is open at its end, -1 where one is misplaced."""
    at, cells = 0, 0
    while True:
        cells += 1
        if record[at : at + 1] == b'"':
            match = _QUOTED.match(record, at)
            if match is None:
                return 0 if _OPEN_TO_THE_END.match(record, at) else -1
            at = match.end()
            if at == len(record):
                return cells
            if record[at : at + 1] != delimiter:
                return -1
            at += 1
            continue
        at = record.find(delimiter, at) + 1
        if at == 0:
            return cells
