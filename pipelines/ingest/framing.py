"""From a whole image to the declared size: all of it, the part in a box, or aligned by two eyes."""

import math

import numpy as np
from PIL import Image, ImageColor

from pipelines.case.data import PictureInput
from pipelines.ingest.unusable import UnusableInputError

Box = tuple[float, float, float, float]

CUT_BOX = "a box that reaches beyond its image: it is cut at the edge"
_AS_LARGE = 1e-9


def wanted_size(declared: PictureInput, whole: tuple[int, int], box: Box | None) -> tuple[int, int]:
    """Return how large an image has to be for the part that is used to have the declared size.

    Args:
        declared: the size, and how it is cropped.
        whole: width and height of the image, the way up that viewers show it.
        box: of the row; None for the whole image.
    """
    if box is None or declared.crop is None:
        return declared.width, declared.height
    scale = 1.0 / _shrink(declared, _in_pixels(declared, whole, box))
    return math.ceil(scale * whole[0]), math.ceil(scale * whole[1])


def framed(
    pixels: Image.Image, declared: PictureInput, whole: tuple[int, int], box: Box | None
) -> tuple[np.ndarray, str | None]:
    """Bring an L or RGB image to the declared size.

    Args:
        pixels: the image, the way up that viewers show it; it may have been decoded smaller than it is.
        declared: the size, and how images are brought to it.
        whole: width and height of the image before that.
        box: left, top, right and bottom, or x and y of two eyes, as ``declared.crop`` says; None for the whole image.

    Returns:
        uint8 (channels, height, width); and what was left out, None where nothing was.

    Raises:
        UnusableInputError: the box, or an eye, lies outside of the image.
    """
    if box is None or declared.crop is None:
        return _as_array(_fitted(pixels, declared, (0, 0, *pixels.size)), declared), None
    found = _in_pixels(declared, whole, box)
    smaller = pixels.width / whole[0], pixels.height / whole[1]
    if declared.crop.is_aligned:
        _check_inside(found, whole)
        return _as_array(_aligned(pixels, declared, _scaled(found, smaller)), declared), None
    left, top, right, bottom = found
    if not (left < whole[0] and top < whole[1] and right > 0 and bottom > 0):
        raise UnusableInputError(
            f"a box outside of its image: found {left:g} to {right:g} by {top:g} to {bottom:g}; the image is "
            f"{whole[0]} x {whole[1]}"
        )
    beyond = left < 0 or top < 0 or right > whole[0] or bottom > whole[1]
    grown = _grown(found, declared.crop.margin)
    cut = max(grown[0], 0), max(grown[1], 0), min(grown[2], whole[0]), min(grown[3], whole[1])
    inside = _scaled(cut, smaller)
    inside = inside[0], inside[1], min(inside[2], pixels.width), min(inside[3], pixels.height)
    return _as_array(_fitted(pixels, declared, inside), declared), CUT_BOX if beyond else None


def background_of(declared: PictureInput) -> tuple[int, int, int]:
    """Return the ground's colour, red, green and blue."""
    red, green, blue = ImageColor.getrgb(declared.background)[:3]
    return red, green, blue


def _in_pixels(declared: PictureInput, whole: tuple[int, int], box: Box) -> Box:
    assert declared.crop is not None
    return _scaled(box, whole) if declared.crop.unit == "share" else box


def _scaled(box: Box, by: tuple[float, float]) -> Box:
    return box[0] * by[0], box[1] * by[1], box[2] * by[0], box[3] * by[1]


def _grown(box: Box, margin: float) -> Box:
    width, height = margin * (box[2] - box[0]), margin * (box[3] - box[1])
    return box[0] - width, box[1] - height, box[2] + width, box[3] + height


def _shrink(declared: PictureInput, box: Box) -> float:
    """Return how many pixels of the image lie side by side in one of the input, at the least."""
    assert declared.crop is not None
    if declared.crop.is_aligned:
        return abs(_turn(declared, box))
    left, top, right, bottom = _grown(box, declared.crop.margin)
    return max(1e-6, min((right - left) / declared.width, (bottom - top) / declared.height))


def _fitted(pixels: Image.Image, declared: PictureInput, box: Box) -> Image.Image:
    """Bring the part of an image in a box to the declared size."""
    size = declared.width, declared.height
    if box == (0, 0, *size) and pixels.size == size:
        return pixels
    if declared.fit == "pad":
        return _padded(pixels, declared, box)
    if declared.fit == "crop":
        box = _middle(box, declared.width / declared.height)
    # Reduced by whole numbers first, and filtered from there: several times as fast on large photos.
    return pixels.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=2.0)


def _middle(box: Box, aspect: float) -> Box:
    """Return the largest box of an aspect (width / height) in the middle of another."""
    width, height = box[2] - box[0], box[3] - box[1]
    cut = min(width, height * aspect), min(height, width / aspect)
    left, top = box[0] + (width - cut[0]) / 2, box[1] + (height - cut[1]) / 2
    return left, top, left + cut[0], top + cut[1]


def _padded(pixels: Image.Image, declared: PictureInput, box: Box) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    scale = min(declared.width / width, declared.height / height)
    inside = max(1, round(width * scale)), max(1, round(height * scale))
    ground = Image.new("RGB", (declared.width, declared.height), background_of(declared)).convert(pixels.mode)
    small = pixels.resize(inside, Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    ground.paste(small, ((declared.width - inside[0]) // 2, (declared.height - inside[1]) // 2))
    return ground


def _check_inside(eyes: Box, whole: tuple[int, int]) -> None:
    for x, y in (eyes[:2], eyes[2:]):
        if not (0 <= x <= whole[0] and 0 <= y <= whole[1]):
            raise UnusableInputError(
                f"an eye outside of its image: found x {x:g}, y {y:g}; the image is {whole[0]} x {whole[1]}"
            )


def _places(declared: PictureInput) -> tuple[complex, complex]:
    """Return where the eyes come to lie in the input, in pixels."""
    assert declared.crop is not None
    x, y = declared.crop.eyes_at
    return complex(x * declared.width, y * declared.height), complex((1 - x) * declared.width, y * declared.height)


def _turn(declared: PictureInput, eyes: Box) -> complex:
    """Return the similarity's factor: a step in the input, as a complex number, times it is the step in the image."""
    left, right = _places(declared)
    return (complex(*eyes[2:]) - complex(*eyes[:2])) / (right - left)


def _aligned(pixels: Image.Image, declared: PictureInput, eyes: Box) -> Image.Image:
    """Turn, scale and move an image until its eyes lie where they should.

    A point p of the input shows the point turn * p + start of the image, both complex.
    """
    turn = _turn(declared, eyes)
    start = complex(*eyes[:2]) - turn * _places(declared)[0]
    shrink = abs(turn)
    if shrink > 1 + _AS_LARGE:
        # Sampling alone would take single pixels of those that become one: the part that is seen is resized before.
        corners = [start + turn * complex(x, y) for x in (0, declared.width) for y in (0, declared.height)]
        left = max(0, math.floor(min(c.real for c in corners) - shrink))
        top = max(0, math.floor(min(c.imag for c in corners) - shrink))
        right = min(pixels.width, math.ceil(max(c.real for c in corners) + shrink))
        bottom = min(pixels.height, math.ceil(max(c.imag for c in corners) + shrink))
        size = max(1, round((right - left) / shrink)), max(1, round((bottom - top) / shrink))
        by_x, by_y = size[0] / (right - left), size[1] / (bottom - top)
        pixels = pixels.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom), reducing_gap=2.0)
    else:
        left = top = 0
        by_x = by_y = 1.0
    matrix = (
        turn.real * by_x, -turn.imag * by_x, (start.real - left) * by_x,
        turn.imag * by_y, turn.real * by_y, (start.imag - top) * by_y,
    )  # fmt: skip
    ground = background_of(declared)
    fill = Image.new("RGB", (1, 1), ground).convert(pixels.mode).getpixel((0, 0))
    return pixels.transform(
        (declared.width, declared.height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )


def _as_array(pixels: Image.Image, declared: PictureInput) -> np.ndarray:
    array = np.asarray(pixels, dtype=np.uint8)
    return array[None] if declared.channels == 1 else array.transpose(2, 0, 1)
