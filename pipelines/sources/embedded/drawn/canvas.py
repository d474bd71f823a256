"""A canvas in units of the figure: smooth outlines, filled and stroked, drawn larger and averaged down."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
_LARGER = 3  # edges are smooth because nine drawn pixels make one


def rgb(values: Sequence[float] | np.ndarray) -> Colour:
    """Return a colour from three numbers, cut to 0 to 255."""
    red, green, blue = (int(min(255.0, max(0.0, float(value)))) for value in values)
    return red, green, blue


def shaded(colour: Sequence[float] | np.ndarray, factor: float) -> Colour:
    """Return a colour darker (factor below 1) or lighter (above)."""
    return rgb([value * factor for value in colour])


def blended(first: Sequence[float], second: Sequence[float], share: float) -> Colour:
    """Return a colour between two: ``share`` of the second."""
    return rgb([(1 - share) * a + share * b for a, b in zip(first, second, strict=True)])


def smooth(points: Sequence[Sequence[float]] | np.ndarray, *, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Return a Catmull-Rom curve through points (n, d): float64 (m, d), ``steps`` between two of them."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        around = np.concatenate([knots[-1:], knots, knots[:2]])
    else:  # the ends go on as they came
        around = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    windows = around[np.arange(len(around) - 3)[:, None] + np.arange(4)]
    curve = _basis(steps) @ windows  # (n, steps, d)
    flat = curve.reshape(-1, knots.shape[1])
    return flat if closed else np.concatenate([flat, knots[-1:]])


@cache
def _basis(steps: int) -> np.ndarray:
    """Return the weights of four neighbours at ``steps`` places between the middle two, float64 (steps, 4)."""
    t = np.arange(steps) / steps
    return 0.5 * np.stack([2 * t**2 - t - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], axis=1)


@cache
def _circle(n: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(x: float, y: float, rx: float, ry: float, *, n: int = 28, turn: float = 0.0) -> np.ndarray:
    """Return the outline of an ellipse, float64 (n, 2); ``turn`` in radians."""
    circle = _circle(n)
    cos, sin = np.cos(turn), np.sin(turn)
    placed: np.ndarray = circle @ np.array([[rx * cos, rx * sin], [-ry * sin, ry * cos]]) + np.array([x, y])
    return placed


class Canvas:
    """A square picture from -1 to 1 in both directions, y downwards.

    Args:
        ground: uint8 (size, size, 3), what the figure stands before.
        scale, turn, shift: of the figure: its size, its angle in radians, and where its middle stands.
        mirror: whether left and right change places.
    """

    def __init__(
        self,
        ground: np.ndarray,
        scale: float = 1.0,
        turn: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        *,
        mirror: bool = False,
    ) -> None:
        self.size = len(ground)
        pixels = self.size * _LARGER
        self._image = Image.fromarray(ground).resize((pixels, pixels), Image.Resampling.BILINEAR)
        self._draw = ImageDraw.Draw(self._image)
        half, sign = pixels / 2, -1.0 if mirror else 1.0
        cos, sin = np.cos(turn) * scale * half, np.sin(turn) * scale * half
        self._matrix = np.array([[cos * sign, sin * sign], [-sin, cos]])
        self._origin = np.array([half * (1 + shift[0]), half * (1 + shift[1])])
        self._unit = scale * half

    def fill(self, outline: np.ndarray, colour: Colour) -> None:
        """Fill an outline, (n, 2) in the figure's units."""
        self._draw.polygon(self._pixels(outline), fill=colour)

    def stroke(self, line: np.ndarray, width: float, colour: Colour) -> None:
        """Draw along points, (n, 2); the width in the figure's units."""
        self._draw.line(self._pixels(line), fill=colour, width=max(1, round(width * self._unit)))

    def dots(self, points: np.ndarray, radius: float, colour: Colour) -> None:
        """Fill circles around points, (n, 2)."""
        r = max(0.6, radius * self._unit)
        places = (np.asarray(points) @ self._matrix + self._origin).tolist()
        for x, y in places:
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def pixels(self) -> np.ndarray:
        """Return the picture, float64 (size, size, 3) from 0 to 255."""
        return np.asarray(self._image.reduce(_LARGER), dtype=np.float64)

    def _pixels(self, points: np.ndarray) -> list[float]:
        placed: list[float] = (np.asarray(points) @ self._matrix + self._origin).ravel().tolist()
        return placed
