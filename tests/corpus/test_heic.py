"""HEIC images, as telephones write them, are read where pillow-heif is installed, and told where it is not."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.case.data import PictureInput
from pipelines.ingest import decode
from pipelines.ingest.decode import FIRST_FRAME, UnusableInputError, decode_picture

INPUT = PictureInput(height=20, width=30)
RED, GREEN, BLACK = (200, 0, 0), (0, 200, 0), (0, 0, 0)


def heic(pixels, **how):
    pytest.importorskip("pillow_heif").register_heif_opener()
    image, sink = Image.fromarray(pixels), io.BytesIO()
    if turned := how.pop("orientation", None):
        exif = Image.Exif()
        exif[274] = turned
        image.info["exif"] = exif.tobytes()
    image.save(sink, "HEIF", quality=95, **how)
    return sink.getvalue()


def three_fields():
    """Red above; green and black below."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20], pixels[20:, :30] = RED, GREEN
    return pixels


def colours(found, *places):
    return [tuple(int(v) for v in np.rint(found[:, down, right] / 100) * 100) for down, right in places]


def test_a_heic_image_is_read_as_viewers_show_it():
    found, note = decode_picture(heic(three_fields()), INPUT)
    assert note is None
    assert colours(found, (4, 15), (15, 5), (15, 25)) == [RED, GREEN, BLACK]
    turned, _ = decode_picture(heic(three_fields(), orientation=6), PictureInput(height=30, width=20))
    assert colours(turned, (15, 15), (5, 5), (25, 5)) == [RED, GREEN, BLACK]
    box = {"left": "l", "top": "t", "right": "r", "bottom": "b"}
    cut, _ = decode_picture(
        heic(three_fields(), orientation=6), PictureInput(height=10, width=10, crop=box), (0.0, 0.0, 18.0, 28.0)
    )
    assert colours(cut, (5, 5)) == [GREEN]


def test_of_several_the_first_is_taken_and_what_is_transparent_shows_the_background():
    pixels = three_fields()
    found, note = decode_picture(heic(pixels, save_all=True, append_images=[Image.fromarray(255 - pixels)]), INPUT)
    assert (colours(found, (4, 15)), note) == ([RED], FIRST_FRAME)
    clear = np.dstack([pixels, np.zeros((40, 60), np.uint8)])
    assert decode_picture(heic(clear), INPUT)[0].min() == 255


def test_a_damaged_one_is_an_error_and_no_image():
    whole = heic(three_fields())
    for damaged in (whole[: len(whole) // 2], whole[:40] + bytes(50) + whole[90:]):
        with pytest.raises((OSError, ValueError)):
            decode_picture(damaged, INPUT)


def test_without_the_package_it_is_told_which_one_reads_it(monkeypatch):
    monkeypatch.setattr(decode, "reads_heif", lambda: False)
    with pytest.raises(UnusableInputError, match=r"^HEIC image: .* pillow-heif"):
        decode_picture(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100), INPUT)
