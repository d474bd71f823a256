"""From what a source holds to the input that the case declares: an image of its size, or a vector of its width."""

import io
import math
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps

from pipelines.case.data import PictureInput, VectorInput
from pipelines.ingest.framing import Box, background_of, framed, wanted_size
from pipelines.ingest.unusable import UnusableInputError
from pipelines.sources.signatures import is_heif

# Formats of images, and none that starts another program (EPS) or is a document.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # more in one image is taken for a decompression bomb
_SCALED_AT_ONCE = 1 << 20  # grey values of more than 8 bits
_ON_ITS_SIDE = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tags
_WHITE_IS_ZERO, _SIGNED = 0, 2  # values of the last two

FIRST_FRAME = "several frames: the first is used"
NOT_SRGB = "a colour profile other than sRGB: values are used as they are"


def decode_input(
    found: bytes | np.ndarray, declared: PictureInput | VectorInput, box: Box | None = None
) -> tuple[np.ndarray, str | None]:
    """Return an input as the blocks hold it.

    Args:
        found: an encoded image, pixels (height x width or height x width x channels), or numbers.
        declared: what the case says that inputs are.
        box: of images, where ``declared.crop`` takes a part of each: see framing.py; None for the whole image.

    Returns:
        uint8 (channels, height, width), or float32 (size,); and what was left out of it, None where nothing was.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: it is not a whole, sane image or vector.
    """
    if isinstance(declared, VectorInput):
        assert isinstance(found, np.ndarray)
        return _vector(found, declared), None
    if isinstance(found, bytes):
        return decode_picture(found, declared, box)
    if found.ndim == 1:
        found = _square(found)
    picture = _flat(_picture_of(found, declared), declared)
    return framed(picture, declared, picture.size, box)


def _square(numbers: np.ndarray) -> np.ndarray:
    """Return the pixels of a cell, line after line, as the square image that they are: grey, or red, green, blue."""
    for channels in (1, 3):
        side = math.isqrt(len(numbers) // channels)
        if side and side * side * channels == len(numbers):
            break
    else:
        raise UnusableInputError(f"no square image: found {len(numbers):,} numbers; expected n x n, or n x n x 3")
    pixels = numbers.reshape(side, side, channels)
    whole = (pixels == np.rint(pixels)).all() and pixels.max() > 1
    # of a table, numbers of 0 to 255 are the values of an encoded image; others are read as floating point is
    return pixels.astype(np.int64) if whole else pixels


def decode_picture(encoded: bytes, declared: PictureInput, box: Box | None = None) -> tuple[np.ndarray, str | None]:
    """Decode an image, turn it the way up that every viewer shows, and bring it to the declared size.

    Transparent parts show ``declared.background``. Grey values of more than 8 bits are brought to 0 to 255 linearly,
    from the format's range or ``declared.range``. Of several frames the first is taken. Colour profiles are not
    applied.

    Args:
        encoded: JPEG, PNG or another format that Pillow reads.
        declared: the image's shape, and how it is brought to it.
        box: of the part that is used; None for all of it.

    Returns:
        uint8 (channels, height, width); and what was left out of it, None where nothing was.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: the bytes are not a whole, sane image.
    """
    if not encoded:
        raise ValueError("the file is empty")
    if is_heif(encoded) and not reads_heif():
        raise UnusableInputError("HEIC image: it is read where the package pillow-heif is installed")
    with Image.open(io.BytesIO(encoded), formats=_formats()) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
        remark = _remark(picture)
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE
        whole = picture.size[::-1] if turned else picture.size
        size = wanted_size(declared, whole, box)
        # lets the JPEG decoder skip work that the resize would throw away
        picture.draft("L" if declared.channels == 1 else "RGB", size[::-1] if turned else size)
        drafted = picture.format in ("JPEG", "MPO")
        picture.load()
        flat = _flat(_upright(picture), declared)
        # others, such as TIFF, may have been turned by Pillow
        pixels, left_out = framed(flat, declared, whole if drafted else flat.size, box)
        return pixels, left_out or remark


@cache
def reads_heif() -> bool:
    """Say whether HEIC images are read here; Pillow reads them with the help of pillow-heif."""
    if find_spec("pillow_heif") is None:
        return False
    import_module("pillow_heif").register_heif_opener()
    return True


@cache
def _formats() -> tuple[str, ...]:
    return (*_FORMATS, "HEIF") if reads_heif() else _FORMATS


def _remark(picture: Image.Image) -> str | None:
    # MPO is a photo with another view of the same or a preview behind it, not a film
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        return FIRST_FRAME
    profile = picture.info.get("icc_profile")
    return NOT_SRGB if profile and b"sRGB" not in profile and b"s\0R\0G\0B" not in profile else None


def _upright(picture: Image.Image) -> Image.Image:
    """Turn an image as its EXIF tag says; Pillow has turned TIFF and HEIC already and removed the tag."""
    if picture.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return picture
    return ImageOps.exif_transpose(picture)


def _flat(picture: Image.Image, declared: PictureInput) -> Image.Image:
    """Return an image as L or RGB, whatever it is kept as."""
    mode = "L" if declared.channels == 1 else "RGB"
    if picture.mode == "CMYK" and picture.format in ("JPEG", "MPO") and "adobe" not in picture.info:
        picture = ImageChops.invert(picture)  # Pillow takes every CMYK JPEG for Adobe's, which keeps 255 for no ink
    if picture.mode.startswith(("I", "F")):
        picture = _eight_bits(picture, declared)
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = _on_background(picture, declared)
    return picture if picture.mode == mode else picture.convert(mode)


def _on_background(picture: Image.Image, declared: PictureInput) -> Image.Image:
    if picture.mode == "La":  # Pillow converts premultiplied grey to LA alone
        picture = picture.convert("LA")
    layer = picture.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return layer.convert("RGB")
    ground = Image.new("RGBA", layer.size, (*background_of(declared), 255))
    return Image.alpha_composite(ground, layer).convert("RGB")


def _eight_bits(picture: Image.Image, declared: PictureInput) -> Image.Image:
    """Bring grey values of more than 8 bits to 0 to 255; Pillow's own conversion makes nearly all of it white."""
    values = np.asarray(picture)
    tags: Any = getattr(picture, "tag_v2", {})
    transparent = picture.info.get("transparency")
    if picture.mode == "F" or declared.range is not None:
        grey = scaled(values, declared.range)
    elif picture.mode.startswith("I;16") or picture.format == "PPM":
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0] if tags else 16
        grey = scaled(values, (0, (1 << bits) - 1))
    else:
        grey = _integers(values, tags)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    flat = Image.fromarray(grey)
    if isinstance(transparent, int):
        flat.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return flat


def _integers(values: np.ndarray, tags: Any) -> np.ndarray:
    """Scale integers of 32 bits (or 16 with a sign) by their type's range, where that leaves anything to be seen."""
    bits = int(tags.get(_BITS_PER_SAMPLE, (32,))[0])
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    if not signed:
        values = values.view(np.uint32)  # Pillow has no type without a sign
    highest = (1 << bits - signed) - 1
    if values.min() < 0 or 0 < values.max() <= highest >> 8:
        raise UnusableInputError(
            f"unknown pixel range: values from {values.min()} to {values.max()} in {bits} bits; "
            "expected input.range: [LOW, HIGH], the values of black and white"
        )
    return scaled(values, (0, highest))


def scaled(values: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    """Bring numbers to 0 to 255, uint8, linearly; what lies outside of stated limits is black or white.

    Args:
        values: integers, or floating point (from 0 to 1 unless limits are stated).
        limits: of black and white.

    Raises:
        UnusableInputError: no limits are stated, and a value lies outside of 0 to 1; or one is not finite.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableInputError("NaN or infinite pixels")
    if limits is None:
        low, high = values.min(initial=0), values.max(initial=0)
        if low < 0 or high > 1:
            raise UnusableInputError(
                f"unknown pixel range: values from {low:g} to {high:g} in floating point; expected 0 to 1, or "
                "input.range: [LOW, HIGH], the values of black and white"
            )
        limits = (0, 1)
    low, high = limits
    grey = np.empty(values.shape, np.uint8)
    step = max(1, _SCALED_AT_ONCE // max(1, values[:1].size))
    for start in range(0, len(values), step):  # some lines at a time: a large image would take its size many times
        # In float64: 32-bit integers and their range are exact in it, and not in float32.
        share = (values[start : start + step].astype(np.float64) - low) / (high - low)
        grey[start : start + step] = np.rint(np.clip(share, 0, 1) * 255)
    return grey


def _picture_of(pixels: np.ndarray, declared: PictureInput) -> Image.Image:
    """Return pixels that a table holds as numbers as an image."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or pixels.dtype.kind not in "buif":
        raise ValueError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}; expected numbers, height x width (x 3)"
        )
    if pixels.dtype != np.uint8:
        pixels = _pixels_of_numbers(pixels, declared.range)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _pixels_of_numbers(pixels: np.ndarray, limits: tuple[float, float] | None) -> np.ndarray:
    if limits is not None or pixels.dtype.kind == "f":
        return scaled(pixels, limits)
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint16:
        return scaled(pixels, (0, 65535))
    if pixels.size and (pixels.min() < 0 or pixels.max() > 255):
        raise UnusableInputError(
            f"unknown pixel range: numbers from {pixels.min()} to {pixels.max()}; expected 0 to 255, or "
            "input.range: [LOW, HIGH], the values of black and white"
        )
    return pixels.astype(np.uint8)


def _vector(numbers: np.ndarray, declared: VectorInput) -> np.ndarray:
    if numbers.dtype.kind not in "buifSU":
        raise UnusableInputError(f"no number: found values of type {numbers.dtype}; expected real numbers")
    if numbers.shape != (declared.size,):
        raise ValueError(f"wrong width: found {numbers.size} numbers; expected {declared.size}")
    # What float32 cannot hold becomes infinite, and is refused with the rest below.
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    # NaN is a value that is missing and may be; which columns' may, the source has looked at.
    if np.isinf(vector).any() if declared.fills_missing else not np.isfinite(vector).all():
        raise ValueError("NaN or infinite features")
    return vector
