"""Data augmentation: each alteration is a function of (seed, step, dataset, row) alone.

A row's draws do not depend on the worker, on the rows beside it or on how many workers there are (counter_random.py),
and every alteration has draws of its own, so that switching one on leaves the others as they were.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipelines.batches.counter_random import key_of, uniform_draws
from pipelines.batches.normalize import normalize, standardize
from pipelines.case.data import PictureInput, VectorInput
from pipelines.case.training import Augmentation

_STREAM = 0xA9  # apart from what chooses rows


class _Draw(IntEnum):
    FLIP, TOP, LEFT, BRIGHTNESS, CONTRAST, SATURATION = range(6)
    ERASE, ERASED_AREA, ERASED_RATIO, ERASED_TOP, ERASED_LEFT, PARTNER = range(6, 12)


class _Column(IntEnum):
    """The columns of :func:`alterations`."""

    FLIP, TOP, LEFT, BRIGHTNESS, CONTRAST, SATURATION = range(6)
    ERASE, ERASED_TOP, ERASED_LEFT, ERASED_HEIGHT, ERASED_WIDTH = range(6, 11)


_ERASED_AREA = (0.02, 1 / 3)  # of the image
_ERASED_RATIO = (0.3, 10 / 3)  # height over width
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class RowDraws(NamedTuple):
    """What is random about some rows: of the rows themselves, and of the partners that mixup blends into them.

    Attributes:
        own: float64, shape (n, 12), in [0, 1).
        of_partner: the same of the partner.
    """

    own: np.ndarray
    of_partner: np.ndarray


def draws_of(seed: int, step: int, data_set: int, rows: np.ndarray) -> RowDraws:
    """Return what is random about some rows of a dataset in a step.

    Args:
        seed: of the run.
        step: of the run, not negative.
        data_set: a number that stands for it, not negative.
        rows: integer, shape (n,).
    """
    own, of_partner = (
        uniform_draws(key_of(_STREAM, seed % 2**63, step, data_set, part), rows, len(_Draw)) for part in (0, 1)
    )
    return RowDraws(own, of_partner)


def strong_draws(seed: int, step: int, data_set: int, rows: np.ndarray) -> np.ndarray:
    """Return what is random about the strong view of some rows, float64 (n, 12): apart from the weak view's draws."""
    return uniform_draws(key_of(_STREAM, seed % 2**63, step, data_set, 3), rows, len(_Draw))


def perturbations(
    seed: int, step: int, data_set: int, rows: np.ndarray, size: int, noise: float, dropout: float
) -> Tensor:
    """Return what makes the strong view of some vectors.

    Args:
        seed: of the run.
        step: of the run, not negative.
        data_set: a number that stands for it, not negative.
        rows: integer, shape (n,).
        size: of a vector.
        noise: the deviation of what is added.
        dropout: how likely a feature becomes 0.

    Returns:
        float32, shape (n, 2, size): what every feature is multiplied by, 0 or 1, and what is then added.
    """
    draws = uniform_draws(key_of(_STREAM, seed % 2**63, step, data_set, 4), rows, 3 * size).reshape(-1, 3, size)
    keep = draws[:, 0] >= dropout
    # Box and Muller, 1958: two uniform numbers make a normal one.
    normal = np.sqrt(-2 * np.log1p(-draws[:, 1])) * np.cos(2 * np.pi * draws[:, 2])
    return torch.from_numpy(np.stack([keep, noise * normal], axis=1)).float()


def partner_rows(draws: RowDraws, rows: np.ndarray, size: int) -> np.ndarray:
    """Return for every row another of the same dataset, any as likely; the row itself where there is no other.

    Args:
        draws: of the rows.
        rows: integer, shape (n,), each in [0, size).
        size: rows of the dataset.
    """
    if size == 1:
        return rows
    # A distance from the row itself, which never comes back to it: no draw has to be repeated.
    further = 1 + np.floor(draws.own[:, _Draw.PARTNER] * (size - 1)).astype(np.int64)
    return np.asarray((rows + further) % size)


def own_share(seed: int, step: int, alpha: float) -> float:
    """Return how much of every input of a step is its own in mixup: the larger part of a Beta(alpha, alpha) draw.

    H. Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018: one draw per step, as in the authors' code.
    Whether a pair is blended as (lambda, 1 - lambda) or the other way round is the same in distribution; the larger
    part to the row itself lets its own labels be the input's main ones.
    """
    key = key_of(_STREAM, seed % 2**63, step, 2)
    share = float(np.random.Generator(np.random.Philox(key=int(key[0]))).beta(alpha, alpha))
    return max(share, 1 - share)


def alterations(draws: np.ndarray, settings: Augmentation, shape: tuple[int, ...]) -> Tensor:
    """Work out on the host what becomes of each image, so that the device that alters it draws nothing.

    Args:
        draws: of the rows, float64, shape (n, 12).
        settings: what to do.
        shape: (C, H, W) of an image.

    Returns:
        float32, shape (n, 11), a column each of :class:`_Column`: whether to flip, where the crop begins, the three
        colour factors, whether to erase and which rectangle.
    """
    height, width = shape[1:]
    columns = np.zeros((len(draws), len(_Column)))
    columns[:, _Column.FLIP] = draws[:, _Draw.FLIP] < settings.flip
    for column, draw in ((_Column.TOP, _Draw.TOP), (_Column.LEFT, _Draw.LEFT)):
        columns[:, column] = np.floor(draws[:, draw] * (2 * settings.crop + 1))
    for column, draw, strength in (
        (_Column.BRIGHTNESS, _Draw.BRIGHTNESS, settings.brightness),
        (_Column.CONTRAST, _Draw.CONTRAST, settings.contrast),
        (_Column.SATURATION, _Draw.SATURATION, settings.saturation),
    ):
        columns[:, column] = 1 + strength * (2 * draws[:, draw] - 1)
    area = height * width * (_ERASED_AREA[0] + draws[:, _Draw.ERASED_AREA] * (_ERASED_AREA[1] - _ERASED_AREA[0]))
    # Even on a log scale: high and wide rectangles are as likely.
    ratio = _ERASED_RATIO[0] * (_ERASED_RATIO[1] / _ERASED_RATIO[0]) ** draws[:, _Draw.ERASED_RATIO]
    # even where that is higher or wider than the image
    high = np.clip(np.rint(np.sqrt(area * ratio)), 1, height)
    wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width)
    columns[:, _Column.ERASE] = draws[:, _Draw.ERASE] < settings.erasing
    columns[:, _Column.ERASED_TOP] = np.floor(draws[:, _Draw.ERASED_TOP] * (height - high + 1))
    columns[:, _Column.ERASED_LEFT] = np.floor(draws[:, _Draw.ERASED_LEFT] * (width - wide + 1))
    columns[:, _Column.ERASED_HEIGHT], columns[:, _Column.ERASED_WIDTH] = high, wide
    return torch.from_numpy(columns).float()


def alter(inputs: Tensor, columns: Tensor | None, settings: Augmentation, scale: PictureInput | VectorInput) -> Tensor:
    """Return inputs as the network sees them, altered and normalized, computed on the device that they lie on.

    In this order: a horizontal flip; a crop of the image's own size out of the image with a margin that mirrors it
    (S. Zagoruyko, N. Komodakis, "Wide residual networks", BMVC 2016); brightness, contrast and saturation, each by a
    factor from [1 - s, 1 + s], contrast about the image's mean grey, saturation about each pixel's grey; the
    normalization of the case's ``input``; a rectangle that becomes 0, the mean (Z. Zhong et al., "Random erasing data
    augmentation", AAAI 2020). The same code runs on every kind of device, and on the CPU to the same bits whatever else
    is in the batch.

    Args:
        inputs: uint8 (n, C, H, W) or float32 (n, size); not written to.
        columns: as :func:`alterations` returns them, on the same device; None where nothing is altered.
        settings: what to do.
        scale: the case's ``input``.

    Returns:
        float32, of the inputs' shape.
    """
    if isinstance(scale, VectorInput) or columns is None:
        return normalize(inputs, scale)
    values = _moved(inputs, columns, settings)
    if settings.brightness or settings.contrast or settings.saturation:
        values = standardize(_coloured(values.float().div_(255), columns), scale)
    else:
        values = normalize(values, scale)
    if settings.erasing:
        values.masked_fill_(_erased(inputs.shape, columns), 0.0)
    return values


def _moved(images: Tensor, columns: Tensor, settings: Augmentation) -> Tensor:
    """Flip and crop in one gather: each place of the result is computed back to the pixel that it comes from."""
    if not settings.crop:
        flipped = columns[:, _Column.FLIP, None, None, None] > 0
        return torch.where(flipped, images.flip(3), images) if settings.flip else images
    n, channels, height, width = images.shape
    y = _crop_indices(columns[:, _Column.TOP], height, settings.crop)
    x = _crop_indices(columns[:, _Column.LEFT], width, settings.crop)
    x = torch.where(columns[:, _Column.FLIP, None] > 0, width - 1 - x, x)
    places = (y[:, :, None] * width + x[:, None, :]).view(n, 1, -1).expand(-1, channels, -1)
    return images.reshape(n, channels, -1).gather(2, places).view(n, channels, height, width)


def _crop_indices(start: Tensor, size: int, margin: int) -> Tensor:
    """Return the pixel rows (or columns) of a crop, int64 (n, size); the margin mirrors the image without its edge."""
    indices = start.long()[:, None] + (torch.arange(size, device=start.device) - margin)
    return (size - 1) - ((size - 1) - indices.abs()).abs()


def _coloured(values: Tensor, columns: Tensor) -> Tensor:
    """Change values in [0, 1] in place. The three changes are linear in a pixel, so they are one: with its grey g and
    the image's mean grey m, b (c (s x + (1 - s) g) + (1 - c) m), cut off at 0 and 1."""
    b, c, s = (
        columns[:, column].reshape(-1, 1, 1, 1) for column in (_Column.BRIGHTNESS, _Column.CONTRAST, _Column.SATURATION)
    )
    if values.shape[1] == 1:
        grey = values.clone()
    else:
        weights = torch.tensor(_GREY, dtype=values.dtype).to(values.device, non_blocking=True)
        grey = torch.einsum("nchw,c->nhw", values, weights)[:, None]
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return values.mul_(b * c * s).add_(grey.mul_(b * c * (1 - s)).add_(b * (1 - c) * mean)).clamp_(0, 1)


def _erased(shape: tuple[int, ...], columns: Tensor) -> Tensor:
    """Return where a rectangle is to be erased, bool (n, 1, H, W)."""
    top, left = columns[:, _Column.ERASED_TOP, None], columns[:, _Column.ERASED_LEFT, None]
    bottom, right = top + columns[:, _Column.ERASED_HEIGHT, None], left + columns[:, _Column.ERASED_WIDTH, None]
    y, x = (torch.arange(size, device=columns.device) for size in shape[2:])
    rows = (y >= top) & (y < bottom) & (columns[:, _Column.ERASE, None] > 0)
    return rows[:, None, :, None] & ((x >= left) & (x < right))[:, None, None, :]
