"""The contact sheet: sample images of each dataset, with their labels below, as one PNG.

Small images are enlarged by a whole number, pixel by pixel: what is seen is what the network gets. The same samples
are the same bytes.
"""

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mtlcore.relatedness.fonts import font_families
from pipelines.inspection.samples import Caption, Sample, Samples

_WIDTH, _MARGIN, _GAP = 1400, 40, 28  # of a row of images, at most; around the sheet; between images
_SIDE, _LEAST_TILE, _LONGEST_SIDE = 160, 150, 256  # what an image is enlarged to; a tile's width; no image is larger
_MOST_LINES = 7  # of one task's labels under an image
_DPI = 64  # a power of two, so that pixels to inches and back is exact
_CHARACTER = 0.6  # the width of DejaVu Sans' usual character, of its size
_SPLITS = {"train": "#2563eb", "validation": "#d97706", "test": "#059669"}
_INK, _GREY, _PAPER, _NO_PICTURE = "#111827", "#6b7280", "#f3f4f6", 229


@dataclass(frozen=True)
class _Style:
    """How text looks; ``px`` is its size in pixels."""

    px: int
    color: str
    weight: str = "normal"
    style: str = "normal"

    @property
    def line(self) -> int:
        return round(1.3 * self.px)

    def fits(self, room: int) -> int:
        """Return how many characters so many pixels hold."""
        return int(room / (_CHARACTER * self.px))


_TITLE, _HEADING, _ABOUT = _Style(26, _INK, "bold"), _Style(20, _INK, "bold"), _Style(14, _GREY)
_TASK, _LABELS = _Style(11, _GREY, "bold"), _Style(14, _INK)
_UNKNOWN = _Style(13, "#b45309", style="oblique")
_ID, _PROBLEM = _Style(10, "#9ca3af"), _Style(12, _GREY)

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


def draw_sheet(title: str, subtitle: str, data_sets: Sequence[Samples], shape: tuple[int, int, int]) -> Sheet:
    """Draw a contact sheet.

    Args:
        title: of it.
        subtitle: a line below the title.
        data_sets: what to draw.
        shape: of every image: (channels, height, width).
    """
    width, height = _shown_size(shape)
    tile = max(width, _LEAST_TILE)
    columns = min(max(1, (_WIDTH + _GAP) // (tile + _GAP)), max(len(data_set.samples) for data_set in data_sets) or 1)
    page = _Page(2 * _MARGIN + max(720, columns * (tile + _GAP) - _GAP))
    page.y = page.text(_MARGIN, page.text(_MARGIN, _MARGIN, title, _TITLE), subtitle, _ABOUT)
    for data_set in data_sets:
        page.heading(data_set)
        for start in range(0, len(data_set.samples), columns):
            top, bottom = page.y, page.y
            for i, sample in enumerate(data_set.samples[start : start + columns]):
                left = _MARGIN + i * (tile + _GAP)
                page.picture(left, top, sample, (width, height))
                bottom = max(bottom, page.captions(left, top + height + 8, sample, tile))
            page.y = bottom + _GAP
    return Sheet(page.png(), tuple(page.boxes))


def _shown_size(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return (width, height) of an image on the sheet: enlarged by a whole number, or made smaller to fit."""
    _, height, width = shape
    longest = max(height, width)
    if longest > _LONGEST_SIDE:
        return max(1, width * _LONGEST_SIDE // longest), max(1, height * _LONGEST_SIDE // longest)
    times = max(1, round(_SIDE / longest))
    return times * width, times * height


class _Page:
    """A sheet that grows downwards; what is drawn is kept until its height is known. Positions are pixels."""

    def __init__(self, width: int) -> None:
        self.width, self.y = width, _MARGIN
        self.boxes: list[Box] = []
        self._pixels: list[np.ndarray] = []
        self._texts: list[tuple[int, int, int, str, _Style]] = []

    def text(self, x: int, y: int, text: str, style: _Style, room: int = 0, most: int = 99) -> int:
        """Write a text of so many lines at most, and return where it ends."""
        room = room or self.width - _MARGIN - x
        for line in textwrap.wrap(text, style.fits(room), max_lines=most, placeholder=" …"):
            self._texts.append((x, y, room, line, style))
            y += style.line
        return y

    def heading(self, samples: Samples) -> None:
        rows = f"{len(samples.samples)} of {samples.rows:,} row{'' if samples.rows == 1 else 's'}"
        words = [rows if samples.rows else "no row can be used"]
        words += [f"no labels of {', '.join(samples.unlabelled)}"] if samples.unlabelled else []
        split = _Style(14, _SPLITS[samples.split], "bold")
        below = self.text(_MARGIN, self.y + 18, samples.data_set, _HEADING)
        below = self.text(_MARGIN, below, samples.split, split)
        self.y = self.text(_MARGIN, below, "; ".join(words), _ABOUT) + 10

    def picture(self, x: int, y: int, sample: Sample, size: tuple[int, int]) -> None:
        self.boxes.append((x, y, x + size[0], y + size[1]))
        self._pixels.append(_drawn(sample, size))
        if sample.picture is None:
            lines = (size[1] - 16) // _PROBLEM.line
            self.text(x + 8, y + 8, sample.problem or "", _PROBLEM, max(60, size[0] - 16), most=max(1, lines))

    def captions(self, x: int, y: int, sample: Sample, room: int) -> int:
        for caption in sample.captions:
            y = self.text(x, y + 3, caption.task, _TASK, room, most=1)
            y = self.text(x, y, _in_words(caption), _LABELS, room, _MOST_LINES)
            y = self.text(x, y, caption.unknown, _UNKNOWN, room, _MOST_LINES)
        fits = _ID.fits(room)
        end = sample.id if len(sample.id) <= fits else f"…{sample.id[1 - fits :]}"
        return self.text(x, y + 4, end, _ID, room, most=1)

    def png(self) -> bytes:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.transforms import Bbox

        height = self.y + _MARGIN - _GAP
        families = font_families(text for _, _, _, text, _ in self._texts)
        figure = Figure((self.width / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAPER)
        for (x, _, _, bottom), pixels in zip(self.boxes, self._pixels, strict=True):
            figure.figimage(pixels, x, height - bottom)  # as they are: no axes, so nothing is resampled
        for x, y, room, text, style in self._texts:
            box = Bbox.from_extents(x, 0, x + room, height)
            look: dict[str, Any] = {"color": style.color, "weight": style.weight, "style": style.style}
            look |= {"fontsize": style.px * 72 / _DPI, "family": families, "va": "top", "parse_math": False}
            figure.text(x / self.width, 1 - y / height, text, clip_on=True, clip_box=box, **look)
        canvas, buffer = FigureCanvasAgg(figure), io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # a box stands in its place
            canvas.draw()
        Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", optimize=True)
        return buffer.getvalue()


def _in_words(caption: Caption) -> str:
    return ", ".join(caption.holds) if caption.holds or caption.unknown else "none"


def _drawn(sample: Sample, size: tuple[int, int]) -> np.ndarray:
    """Return an image as it is drawn, uint8 (height, width, 3)."""
    if sample.picture is None:
        return np.full((size[1], size[0], 3), _NO_PICTURE, np.uint8)
    chw = np.asarray(sample.picture)
    image = Image.fromarray(chw[0] if len(chw) == 1 else np.ascontiguousarray(chw.transpose(1, 2, 0))).convert("RGB")
    larger = size[0] >= image.width
    return np.asarray(image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS))
