"""Images as people have them, each with what it must look like: red above blue, or a ramp from black to white."""

import io
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

RED, BLUE, WHITE = (220, 0, 0), (0, 0, 220), (255, 255, 255)
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
TURNS |= {7: "TRANSVERSE", 8: "ROTATE_270"}
RAMP = np.linspace(0, 1, 64).reshape(1, -1).repeat(8, axis=0)


@dataclass(frozen=True)
class Picture:
    """A file, the ``input`` section, and what it must become: colours by place, a ramp, or the reason it is refused."""

    name: str
    content: bytes
    input: dict[str, Any] = field(default_factory=dict)
    pixels: dict[tuple[float, float], tuple[int, ...]] | None = None  # by (row, column), shares of height and width
    ramp: bool = False
    refused: str | None = None
    note: str | None = None
    within: int = 12


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(size=(48, 64)):
    """Red above blue, width x height."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2], pixels[size[1] // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def turned(way, kind):
    """The same as a camera keeps it that is held otherwise."""
    image = halves()
    image = image.transpose(Image.Transpose[TURNS[way]])
    exif = image.getexif()
    exif[0x0112] = way
    return encoded(image, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def cut_out(mode):
    """A red square on nothing; what is under nothing is black."""
    layer = np.zeros((32, 32, 4), np.uint8)
    layer[8:24, 8:24] = (*RED, 255)
    image = Image.fromarray(layer)
    if mode == "P":
        flat = Image.new("P", (32, 32), 0)
        flat.putpalette([9, 9, 9, *RED])
        flat.paste(1, (8, 8, 24, 24))
        return flat
    return image.convert(mode)


def without_adobe(jpeg):
    """Leave out the marker by which a reader knows that 255 is no ink."""
    at = jpeg.index(b"\xff\xee")
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


def cmyk(ink_is_high):
    """Red above blue as ink."""
    image = halves().convert("CMYK")
    if ink_is_high:
        return encoded(image, "TIFF", compression="tiff_lzw")
    return encoded(image, "JPEG", quality=95)


def plain_cmyk():
    inverted = Image.fromarray(255 - np.asarray(halves().convert("CMYK")), mode="CMYK")
    return without_adobe(encoded(inverted, "JPEG", quality=95))


def pgm(highest):
    return b"P5 64 8 %d\n" % highest + np.rint(RAMP * highest).astype(">u2").tobytes()


def twelve_bits():
    """A TIFF file of 12 bits a pixel, two pixels in three bytes."""
    values = np.rint(RAMP * 4095).astype(np.uint32).reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], axis=1)
    strip = packed.astype(np.uint8).tobytes()
    tags = [(256, 3, 64), (257, 3, 8), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 3, 8)]
    tags.append((279, 4, len(strip)))
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def ramp(dtype, factor, kind="TIFF"):
    values = RAMP * factor
    return encoded(
        Image.fromarray(np.rint(values).astype(dtype) if np.dtype(dtype).kind != "f" else values.astype(dtype)), kind
    )


def film(kind):
    frames = [Image.new("RGB", (32, 32), colour) for colour in (RED, BLUE, WHITE)]
    return encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )


UPRIGHT = {(0.2, 0.5): RED, (0.8, 0.5): BLUE}
ON_WHITE = {(0.5, 0.5): RED, (0.05, 0.05): WHITE}
SMALL = {"height": 16, "width": 12}
SQUARE = {"height": 32, "width": 32}
LONG = {"height": 8, "width": 64, "channels": 1}

PICTURES = [
    *(
        Picture(f"{kind}-turned-{way}", turned(way, kind), SMALL, UPRIGHT)
        for way in TURNS
        for kind in ("JPEG", "PNG", "WEBP")
    ),
    Picture("tiff-turned", turned(6, "TIFF"), SMALL, UPRIGHT),
    *(Picture(f"transparent-{m}", encoded(cut_out(m), "PNG"), SQUARE, ON_WHITE) for m in ("RGBA",)),
    Picture("transparent-palette", encoded(cut_out("P"), "PNG", transparency=0), SQUARE, ON_WHITE),
    Picture("transparent-gif", encoded(cut_out("P"), "GIF", transparency=0), SQUARE, ON_WHITE),
    Picture("transparent-grey", encoded(cut_out("LA"), "PNG"), SQUARE | {"channels": 1}, {(0.05, 0.05): (255,)}),
    Picture("stated-ground", encoded(cut_out("RGBA"), "PNG"), SQUARE | {"background": "#0000dc"}, {(0.05, 0.05): BLUE}),
    Picture("cmyk-of-adobe", cmyk(ink_is_high=False), SMALL, UPRIGHT, within=30),
    Picture("cmyk-of-others", plain_cmyk(), SMALL, UPRIGHT, within=30),
    Picture("cmyk-tiff", cmyk(ink_is_high=True), SMALL, UPRIGHT),
    Picture("grey-16-png", ramp(np.uint16, 65535, "PNG"), LONG, ramp=True),
    Picture("grey-16-tiff", ramp(np.uint16, 65535), LONG, ramp=True),
    Picture("grey-12-tiff", twelve_bits(), LONG, ramp=True),
    Picture("grey-12-pgm", pgm(4095), LONG, ramp=True),
    Picture("grey-16-pgm", pgm(65535), LONG, ramp=True),
    Picture("grey-12-in-16", ramp(np.uint16, 4095, "PNG"), LONG | {"range": [0, 4095]}, ramp=True),
    Picture("grey-32", ramp(np.int32, 2**31 - 1), LONG, ramp=True),
    Picture(
        "grey-12-in-32", ramp(np.int32, 4095), LONG, refused="unknown pixel range: values from 0 to 4095 in 32 bits"
    ),
    Picture("grey-12-in-32-stated", ramp(np.int32, 4095), LONG | {"range": [0, 4095]}, ramp=True),
    Picture("floats", ramp(np.float32, 1), LONG, ramp=True),
    Picture(
        "floats-to-255", ramp(np.float32, 255), LONG, refused="unknown pixel range: values from 0 to 255 in floating"
    ),
    Picture("floats-to-255-stated", ramp(np.float32, 255), LONG | {"range": [0, 255]}, ramp=True),
    *(
        Picture(f"film-{kind}", film(kind), SQUARE, {(0.5, 0.5): RED}, note="several frames: the first is used")
        for kind in ("GIF", "PNG", "WEBP", "TIFF")
    ),
    Picture(
        "padded",
        encoded(halves((64, 32)), "PNG"),
        SQUARE | {"fit": "pad"},
        {(0.1, 0.5): WHITE, (0.4, 0.5): RED, (0.9, 0.5): WHITE},
    ),
    Picture("cropped", encoded(halves((16, 64)), "PNG"), SQUARE | {"fit": "crop"}, UPRIGHT),
    Picture("heic-without-reader", b"\0\0\0\x18ftypheic" + bytes(40), SQUARE, refused="HEIC image"),
]
