"""The contact sheet: sample images of each dataset, with their labels below, as one PNG.

Small images are enlarged by a whole number, pixel by pixel: what is seen is what the network gets. The same samples
are the same bytes.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipelines.inspection.samples import Caption, Sample, Samples

_WIDTH = 1400  # of the images of a row, at most
_MARGIN, _GAP, _PADDING = 40, 18, 10
_SIDE, _LEAST_TILE, _LONGEST_SIDE = 160, 150, 256  # what an image is enlarged to; a tile's width; no image is larger
_MOST_LINES = 7  # of one task's labels under an image
_INK, _GREY, _FAINT, _AMBER = "#111827", "#6b7280", "#9ca3af", "#b45309"
_PAPER, _CARD, _EDGE, _NO_PICTURE = "#f3f4f6", "#ffffff", "#d1d5db", "#e5e7eb"
_SPLITS = {"train": "#2563eb", "validation": "#d97706", "test": "#059669"}

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Attributes:
        png: the file.
        images: where the image of every tile is, in the order of the samples: left, top, right, bottom.
    """

    png: bytes
    pictures: tuple[Box, ...]


@dataclass(frozen=True)
class _Line:
    """Some text in one style, with room above it."""

    text: str
    style: str
    size: int
    colour: str
    above: int = 0

    @property
    def height(self) -> int:
        return self.above + round(1.3 * self.size)


@dataclass(frozen=True)
class _Tile:
    """An image as it is drawn, and the lines below it."""

    picture: Image.Image
    lines: tuple[_Line, ...]

    @property
    def height(self) -> int:
        return self.picture.height + _PADDING + sum(line.height for line in self.lines)


def draw_sheet(title: str, subtitle: str, data_sets: Sequence[Samples], shape: tuple[int, int, int]) -> Sheet:
    """Draw a contact sheet.

    Args:
        title: of it.
        subtitle: a line below the title.
        data_sets: what to draw.
        shape: of every image: (channels, height, width).
    """
    size = _shown_size(shape)
    tile_width = max(size[0], _LEAST_TILE)
    most = max(1, (_WIDTH + _GAP) // (tile_width + 2 * _PADDING + _GAP))
    columns = [_columns(len(of.samples), most) for of in data_sets]
    card = tile_width + 2 * _PADDING
    width = 2 * _MARGIN + max(720, max(n * card + (n - 1) * _GAP for n in columns))
    canvas = _Canvas(width)
    canvas.lines(_wrapped(title, "Bold", 26, _INK, width - 2 * _MARGIN))
    canvas.lines(_wrapped(subtitle, "", 14, _GREY, width - 2 * _MARGIN))
    boxes: list[Box] = []
    for of, n in zip(data_sets, columns, strict=True):
        canvas.heading(of, width)
        tiles = [_tile(sample, size, tile_width) for sample in of.samples]
        for start in range(0, len(tiles), n):
            boxes += canvas.row(tiles[start : start + n], tile_width)
    return Sheet(canvas.png(), tuple(boxes))


def _columns(tiles: int, most: int) -> int:
    """Return how many tiles stand side by side so that the last row is as full as can be."""
    rows = max(1, -(-tiles // most))
    return max(1, -(-tiles // rows))


def _shown_size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (width, height) of an image on the sheet: enlarged by a whole number, or made smaller to fit."""
    _, height, width = shape
    longest = max(height, width)
    if longest > _LONGEST_SIDE:
        return max(1, width * _LONGEST_SIDE // longest), max(1, height * _LONGEST_SIDE // longest)
    times = max(1, round(_SIDE / longest))
    return times * width, times * height


class _Canvas:
    """A sheet that grows downwards; what is drawn is kept until its height is known."""

    def __init__(self, width: int) -> None:
        self._width, self._y = width, _MARGIN
        self._boxes: list[tuple[Box, str, str | None, int]] = []
        self._pictures: list[tuple[Image.Image, tuple[int, int]]] = []
        self._texts: list[tuple[_Line, tuple[int, int]]] = []

    def lines(self, lines: Sequence[_Line], x: int = _MARGIN) -> None:
        for line in lines:
            self._texts.append((line, (x, self._y + line.above)))
            self._y += line.height

    def heading(self, of: Samples, width: int) -> None:
        self._y += 28
        name, chip = _Line(of.data_set, "Bold", 20, _INK), _Line(of.split, "Bold", 13, "#ffffff")
        self._texts.append((name, (_MARGIN, self._y)))
        left = _MARGIN + round(_length(name)) + 14
        box = (left, self._y + 1, left + round(_length(chip)) + 18, self._y + 24)
        self._boxes.append((box, _SPLITS[of.split], None, 11))
        self._texts.append((chip, (left + 9, self._y + 4)))
        self._y += name.height + 2
        shown = f"{len(of.samples)} of {of.rows:,} row{'' if of.rows == 1 else 's'}"
        words = [shown if of.rows else "no row can be used"]
        words += [f"no labels of {', '.join(of.unlabelled)}"] if of.unlabelled else []
        self.lines(_wrapped("; ".join(words), "", 14, _GREY, width - 2 * _MARGIN))
        self._y += 10

    def row(self, tiles: Sequence[_Tile], tile_width: int) -> Iterator[Box]:
        top, height = self._y, max(tile.height for tile in tiles) + 2 * _PADDING
        for i, tile in enumerate(tiles):
            card = tile_width + 2 * _PADDING
            left = _MARGIN + i * (card + _GAP)
            self._boxes.append(((left, top, left + card, top + height), _CARD, _EDGE, 6))
            at = left + (card - tile.picture.width) // 2, top + _PADDING
            self._pictures.append((tile.picture, at))
            yield (*at, at[0] + tile.picture.width, at[1] + tile.picture.height)
            self._y = at[1] + tile.picture.height + _PADDING
            self.lines(tile.lines, left + _PADDING)
        self._y = top + height + _GAP

    def png(self) -> bytes:
        image = Image.new("RGB", (self._width, self._y - _GAP + _MARGIN), _PAPER)
        draw = ImageDraw.Draw(image)
        for box, fill, edge, radius in self._boxes:
            draw.rounded_rectangle(box, radius, fill, edge)
        for picture, at in self._pictures:
            image.paste(picture, at)
        for line, at in self._texts:
            draw.text(at, line.text, line.colour, _font(line.style, line.size))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _tile(sample: Sample, size: tuple[int, int], width: int) -> _Tile:
    lines = [line for caption in sample.captions for line in _caption_lines(caption, width)]
    lines.append(_Line(_cut(sample.id, "", 10, width, keep_end=True), "", 10, _FAINT, above=4))
    return _Tile(_drawn(sample, size), tuple(lines))


def _caption_lines(caption: Caption, width: int) -> Iterator[_Line]:
    yield _Line(_cut(caption.task, "Bold", 11, width), "Bold", 11, _GREY, above=3)
    if caption.holds:
        yield from _as_many_as_fit(caption.holds, width)
    elif not caption.unknown:
        yield _Line("none", "", 14, _INK)
    if caption.unknown:
        yield from _wrapped(caption.unknown, "Oblique", 13, _AMBER, width)[:_MOST_LINES]


def _as_many_as_fit(labels: tuple[str, ...], width: int) -> list[_Line]:
    fit: list[_Line] = []
    for n in range(1, len(labels) + 1):
        more = f", and {len(labels) - n} more" if n < len(labels) else ""
        lines = _wrapped(", ".join(labels[:n]) + more, "", 14, _INK, width)
        if len(lines) > _MOST_LINES:
            return fit or lines[:_MOST_LINES]
        fit = lines
    return fit


def _drawn(sample: Sample, size: tuple[int, int]) -> Image.Image:
    if sample.picture is None:
        return _no_picture(sample.problem or "", size)
    chw = np.asarray(sample.picture)
    image = Image.fromarray(chw[0] if len(chw) == 1 else np.ascontiguousarray(chw.transpose(1, 2, 0))).convert("RGB")
    larger = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _no_picture(problem: str, size: tuple[int, int]) -> Image.Image:
    tile = Image.new("RGB", size, _NO_PICTURE)
    draw = ImageDraw.Draw(tile)
    draw.line((0, 0, *size), _EDGE)
    draw.line((0, size[1], size[0], 0), _EDGE)
    y = 8
    for line in _wrapped(problem, "", 12, _GREY, max(24, size[0] - 16)):
        if y + line.height > size[1]:
            break
        draw.rectangle((8, y, 8 + _length(line), y + line.height), _NO_PICTURE)
        draw.text((8, y), line.text, line.colour, _font(line.style, line.size))
        y += line.height
    return tile


def _wrapped(text: str, style: str, size: int, colour: str, width: int) -> list[_Line]:
    """Break text into lines between words; a word longer than a line after the signs in it, or else anywhere."""
    lines, font = [""], _font(style, size)
    for word in text.split():
        space = " " if lines[-1] else ""
        if font.getlength(lines[-1] + space + word) <= width:
            lines[-1] += space + word
            continue
        lines.append("")
        for part in _parts(word, font, width):
            if lines[-1] and font.getlength(lines[-1] + part) > width:
                lines.append("")
            lines[-1] += part
    return [_Line(line, style, size, colour) for line in lines if line]


def _parts(word: str, font: ImageFont.FreeTypeFont, width: int) -> Iterator[str]:
    if font.getlength(word) <= width:
        yield word
        return
    for part in re.findall(r"[^_/:.-]*[_/:.-]+|[^_/:.-]+", word):
        yield from (part,) if font.getlength(part) <= width else part


def _cut(text: str, style: str, size: int, width: int, *, keep_end: bool = False) -> str:
    """Return as much of a text as one line holds, from its beginning or to its end."""
    text = " ".join(text.split())
    whole = shown = text[-width:] if keep_end else text[:width]  # no character is narrower than a pixel
    while len(whole) > 1 and _font(style, size).getlength(shown) > width:
        whole = whole[1:] if keep_end else whole[:-1]
        shown = f"…{whole}" if keep_end else f"{whole}…"
    return shown


def _length(line: _Line) -> float:
    return _font(line.style, line.size).getlength(line.text)


@lru_cache
def _font(style: str, size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that a sheet looks the same on every machine."""
    import matplotlib

    name = f"DejaVuSans-{style}.ttf" if style else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)
