"""Decode and resize an input to what the case declares: an image of one size, or a vector of one width."""

import io

import numpy as np
from PIL import Image

from pipelines.case.data import PictureInput, VectorInput

# Formats of images, and none that starts another program (EPS) or is a document.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_MOST_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # more in one image is taken for a decompression bomb


def decode_input(raw: bytes | np.ndarray, declared: PictureInput | VectorInput) -> np.ndarray:
    """Return an input as the blocks hold it.

    Args:
        raw: an encoded image, pixels (uint8, height x width or height x width x channels), or numbers.
        declared: what the case says that inputs are.

    Returns:
        uint8 (channels, height, width), or float32 (size,).

    Raises:
        OSError, ValueError, Image.DecompressionBombError: it is not a whole, valid image or vector.
    """
    if isinstance(declared, VectorInput):
        assert isinstance(raw, np.ndarray)
        return _vector(raw, declared.size)
    if isinstance(raw, bytes):
        return decode_picture(raw, declared.shape)
    return _resized(_picture_of(raw), declared.shape)


def decode_picture(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode and resize an image.

    Args:
        encoded: JPEG, PNG or another format that Pillow reads.
        shape: (channels, height, width); 1 channel is grey, 3 are RGB.

    Returns:
        uint8, of that shape.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: the bytes are not a whole, sane image.
    """
    if not encoded:
        raise ValueError("the file is empty")
    channels, height, width = shape
    with Image.open(io.BytesIO(encoded), formats=_FORMATS) as picture:
        if picture.width * picture.height > _MOST_PIXELS:
            raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
        # lets the JPEG decoder skip work that the resize would throw away
        picture.draft("L" if channels == 1 else "RGB", (width, height))
        return _resized(picture, shape)


def _resized(picture: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    if picture.mode.startswith("I;16"):  # Pillow's own conversion would make nearly all of it white
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    pixels = picture if picture.mode == mode else picture.convert(mode)
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    array = np.asarray(pixels, dtype=np.uint8)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _picture_of(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise ValueError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}; expected uint8, height x width (x 3)"
        )
    return Image.fromarray(pixels)


def _vector(numbers: np.ndarray, size: int) -> np.ndarray:
    if numbers.shape != (size,):
        raise ValueError(f"wrong width: found {numbers.size} numbers; expected {size}")
    with np.errstate(over="ignore"):
        vector = numbers.astype(np.float32)
    if not np.isfinite(vector).all():
        raise ValueError("NaN or infinite features")
    return vector
