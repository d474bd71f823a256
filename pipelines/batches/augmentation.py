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
from pipelines.batches.normalize import normalize
from pipelines.case.data import PictureInput, VectorInput
from pipelines.case.training import Augmentation

_STREAM = 0xA9  # apart from what chooses rows


class _Draw(IntEnum):
    FLIP, TOP, LEFT, BRIGHTNESS, CONTRAST, SATURATION = range(6)
    ERASE, ERASED_AREA, ERASED_RATIO, ERASED_TOP, ERASED_LEFT, PARTNER = range(6, 12)


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


def partner_rows(draws: RowDraws, rows: np.ndarray, size: int) -> np.ndarray:
    """Return for every row another of the same dataset, any as likely; the row itself where there is no other.

    Args:
        draws: of the rows.
        rows: integer, shape (n,), each in [0, size).
        size: rows of the dataset.
    """
    if size == 1:
        return rows
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


def augmented(
    inputs: np.ndarray, draws: np.ndarray, settings: Augmentation, scale: PictureInput | VectorInput
) -> Tensor:
    """Return inputs as the network sees them, altered and scaled; vectors are only scaled.

    In this order: a horizontal flip; a crop of the image's own size out of the image with a margin that mirrors it
    (S. Zagoruyko, N. Komodakis, "Wide residual networks", BMVC 2016); brightness, contrast and saturation, each by a
    factor from [1 - s, 1 + s], contrast about the image's mean grey, saturation about each pixel's grey; the scaling
    of the case's ``input``; a rectangle that becomes 0, the mean (Z. Zhong et al., "Random erasing data augmentation",
    AAAI 2020).

    Args:
        inputs: uint8 (n, C, H, W) or float32 (n, size); not written to.
        draws: of the rows, shape (n, 12).
        settings: what to do.
        scale: the case's ``input``.

    Returns:
        float32, of the inputs' shape.
    """
    if isinstance(scale, VectorInput):
        return normalize(torch.from_numpy(inputs), scale)
    values = torch.from_numpy(_moved(inputs, draws, settings))
    if settings.brightness or settings.contrast or settings.saturation:
        values = _coloured(values.float().div_(255), draws, settings).sub_(scale.mean).div_(scale.std)
    else:
        values = normalize(values, scale)
    if settings.erasing:
        values.masked_fill_(_erased(inputs.shape, draws, settings), 0.0)
    return values


def _moved(pictures: np.ndarray, draws: np.ndarray, settings: Augmentation) -> np.ndarray:
    flipped = draws[:, _Draw.FLIP] < settings.flip
    if flipped.any():
        pictures = pictures.copy()
        pictures[flipped] = pictures[flipped, :, :, ::-1]
    if not settings.crop:
        return pictures
    margin, size = settings.crop, pictures.shape[2:]
    padded = np.pad(pictures, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(2, 3))
    top, left = (np.floor(draws[:, at] * (2 * margin + 1)).astype(np.int64) for at in (_Draw.TOP, _Draw.LEFT))
    return np.asarray(windows[np.arange(len(pictures)), :, top, left])


def _coloured(values: Tensor, draws: np.ndarray, settings: Augmentation) -> Tensor:
    """Change values in [0, 1] in place. The three changes are linear in a pixel, so they are one: with its grey g and
    the image's mean grey m, b (c (s x + (1 - s) g) + (1 - c) m), cut off at 0 and 1."""

    def factor(at: _Draw, strength: float) -> Tensor:
        return torch.from_numpy(1 + strength * (2 * draws[:, at] - 1)).float().reshape(-1, 1, 1, 1)

    b = factor(_Draw.BRIGHTNESS, settings.brightness)
    c = factor(_Draw.CONTRAST, settings.contrast)
    s = factor(_Draw.SATURATION, settings.saturation)
    if values.shape[1] == 1:
        grey = values.clone()
    else:
        weights = values.new_tensor(_GREY)
        grey = torch.einsum("nchw,c->nhw", values, weights)[:, None]
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    return values.mul_(b * c * s).add_(grey.mul_(b * c * (1 - s)).add_(b * (1 - c) * mean)).clamp_(0, 1)


def _erased(shape: tuple[int, ...], draws: np.ndarray, settings: Augmentation) -> Tensor:
    """Return where a rectangle is to be erased, bool (n, 1, H, W)."""
    height, width = shape[2:]
    area = height * width * (_ERASED_AREA[0] + draws[:, _Draw.ERASED_AREA] * (_ERASED_AREA[1] - _ERASED_AREA[0]))
    ratio = _ERASED_RATIO[0] * (_ERASED_RATIO[1] / _ERASED_RATIO[0]) ** draws[:, _Draw.ERASED_RATIO]
    # even where that is higher or wider than the image
    high = np.clip(np.rint(np.sqrt(area * ratio)), 1, height)
    wide = np.clip(np.rint(np.sqrt(area / ratio)), 1, width)
    top = np.floor(draws[:, _Draw.ERASED_TOP] * (height - high + 1))
    left = np.floor(draws[:, _Draw.ERASED_LEFT] * (width - wide + 1))
    erase = draws[:, _Draw.ERASE] < settings.erasing
    y, x = np.arange(height), np.arange(width)
    rows = (y >= top[:, None]) & (y < (top + high)[:, None]) & erase[:, None]
    columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    return torch.from_numpy(rows[:, None, :, None] & columns[:, None, None, :])
