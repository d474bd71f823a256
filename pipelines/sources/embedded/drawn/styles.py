"""How a dataset was taken: background, light, pose, occlusion, blur, noise and colour, the same for every domain."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFilter


@dataclass(frozen=True)
class Style:
    """A way to take pictures. Every number is the most that it varies by, or a share of the pictures.

    Attributes:
        pose: how far a figure turns, moves and differs in size, about 1 outdoors.
        light: how far light comes from the side.
        clutter: how much stands in the background.
        occlusion: the share of pictures in which something stands before the figure.
        blur: the radius in pixels, at most.
        noise: the standard deviation of the pixels' noise, of 255.
        grey: the share of pictures without colours.
        cast: how far the colours of the light vary.
        dark: how far the exposure varies.
    """

    pose: float
    light: float
    clutter: float
    occlusion: float
    blur: float
    noise: float
    grey: float = 0.0
    cast: float = 0.0
    dark: float = 0.0


STYLES = {
    "studio": Style(pose=0.35, light=0.25, clutter=0.0, occlusion=0.0, blur=0.3, noise=4.0),
    "outdoors": Style(pose=1.0, light=0.6, clutter=1.0, occlusion=0.25, blur=0.8, noise=9.0, cast=0.12, dark=0.25),
    "web": Style(pose=0.8, light=0.45, clutter=0.6, occlusion=0.12, blur=0.7, noise=9.0, grey=0.1, cast=0.2, dark=0.3),
    "film": Style(pose=0.6, light=0.7, clutter=0.3, occlusion=0.05, blur=0.9, noise=12.0, grey=1.0, dark=0.35),
    "night": Style(pose=0.7, light=0.9, clutter=0.5, occlusion=0.1, blur=0.8, noise=15.0, cast=0.2, dark=0.5),
}


def _tint(rng: np.random.Generator) -> np.ndarray:
    """Return a colour that things outdoors have: seldom a strong one."""
    grey = rng.uniform(45, 225)
    tint: np.ndarray = grey + rng.uniform(0.15, 0.7) * (rng.uniform(30, 235, 3) - grey)
    return tint


@cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(-1, 1, size)
    return np.broadcast_to(line[None, :], (size, size)), np.broadcast_to(line[:, None], (size, size))


def background(style: Style, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return what a figure stands before: uint8 (size, size, 3), a gradient and, in clutter, what lies there."""
    top, bottom = _tint(rng), _tint(rng)
    if style.clutter == 0:
        top = bottom = np.full(3, rng.uniform(165, 235)) + rng.normal(0, 8, 3)
    share = np.linspace(0, 1, size)[:, None, None]
    ground = np.broadcast_to((1 - share) * top + share * bottom, (size, size, 3)).copy()
    x, y = _grid(size)
    for _ in range(rng.poisson(5 * style.clutter)):
        middle, radii, turn = rng.uniform(-1.1, 1.1, 2), rng.uniform(0.08, 0.6, 2), rng.uniform(0, np.pi)
        u = (x - middle[0]) * np.cos(turn) + (y - middle[1]) * np.sin(turn)
        v = (y - middle[1]) * np.cos(turn) - (x - middle[0]) * np.sin(turn)
        inside = (
            np.maximum(abs(u) / radii[0], abs(v) / radii[1]) < 1
            if rng.random() < 0.5
            else (u / radii[0]) ** 2 + (v / radii[1]) ** 2 < 1
        )
        ground[inside] = 0.25 * ground[inside] + 0.75 * _tint(rng)
    soft = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    return np.asarray(soft.filter(ImageFilter.GaussianBlur(size / 48)))


def taken(pixels: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """Return a drawn picture as the style's camera takes it.

    Args:
        pixels: float64 (size, size, 3) from 0 to 255.
        style: the camera, the light and what stands in the way.
        rng: decides what varies.

    Returns:
        uint8 (size, size, 3).
    """
    size = len(pixels)
    x, y = _grid(size)
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1) * style.light
    lit = 1 + 0.75 * strength * (np.cos(angle) * x + 0.6 * np.sin(angle) * y)
    pixels = pixels * lit[..., None] * (1 + style.cast * rng.uniform(-1, 1, 3))
    if rng.random() < style.occlusion:
        pixels = _something_in_the_way(pixels, x, y, rng)
    pixels = 128 + (pixels * (1 - style.dark * rng.uniform(-0.3, 1)) - 128) * (1 - 0.5 * style.dark * rng.random())
    if rng.random() < style.grey:
        pixels = np.repeat((pixels @ [0.3, 0.59, 0.11])[..., None], 3, axis=2)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, style.blur) * size / 48))
    grain = rng.normal(0, style.noise * rng.uniform(0.4, 1), (size, size, 1 if style.grey == 1 else 3))
    noisy: np.ndarray = np.clip(np.asarray(image, dtype=np.float64) + grain, 0, 255).astype(np.uint8)
    return noisy


def _something_in_the_way(pixels: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a bar or a round thing before the figure, on one side of its middle."""
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.8)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    width = rng.uniform(0.07, 0.17)
    covered = abs(along - far) < width if rng.random() < 0.6 else (along - far) ** 2 + across**2 < (1.9 * width) ** 2
    pixels = pixels.copy()
    pixels[covered] = rng.uniform(20, 230, 3)
    return pixels
