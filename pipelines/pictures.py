"""Decode an encoded picture to the declared size."""

import io

import numpy as np
from PIL import Image


def decode_picture(encoded: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode and resize a picture.

    Args:
        encoded: JPEG, PNG or another format that Pillow reads.
        shape: (channels, height, width); 1 channel is grey, 3 are RGB.

    Returns:
        uint8, of that shape.

    Raises:
        OSError, ValueError, Image.DecompressionBombError: the bytes are not a whole, sane picture.
    """
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.draft(mode, (width, height))  # lets the JPEG decoder skip work that the resize would throw away
        pixels = picture.convert(mode)
    if pixels.size != (width, height):
        pixels = pixels.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    array = np.asarray(pixels, dtype=np.uint8)
    return array[None] if channels == 1 else np.ascontiguousarray(array.transpose(2, 0, 1))
