"""Images that look alike: neighbouring frames, copies that were encoded again or resized.

Of every image a thumbnail of 9 x 8 grey values is kept. Where a value is clearly larger than that to its left is a hash
of 64 bits (a difference hash). Two images look alike where at most DISTANCE of the bits differ, and their thumbnails'
correlation is at least LIKENESS: the second tells apart what has large plain areas, as drawings and digits have.
"""

from collections.abc import Iterator

import numpy as np

# Of copies that were encoded again or resized 99 in 100 are found, of photos of 120 pixels moved by 2, 82; of different
# images of CIFAR-10, 1 in 160 is taken for one of 3000 others (some are), of digits 1 in 75.
DISTANCE = 8  # bits of 64
LIKENESS = 0.98
_ROWS, _COLUMNS = 8, 9
LOOK_BYTES = _ROWS * _COLUMNS
_LEAST_SIDE = 16  # pixels: of less, different images look alike
_LEAST_CONTRAST = 4.0  # grey values, standard deviation: plain images all look alike
_CLEARLY = 0.15  # of the thumbnail's standard deviation: noise of an encoder turns no bit
_AT_ONCE = 64  # images made grey at a time
_PAIRS_AT_ONCE = 1 << 20


def can_look_alike(shape: tuple[int, ...]) -> bool:
    """Say whether inputs of a shape are images large enough to be compared by what they look like."""
    return len(shape) == 3 and min(shape[1:]) >= _LEAST_SIDE


def looks(images: np.ndarray) -> np.ndarray:
    """Return thumbnails, uint8 (n, 72), of images, uint8 (n, channels, height, width)."""
    n, _, height, width = images.shape
    made = np.empty((n, _ROWS, _COLUMNS), np.uint8)
    rows, columns = (np.arange(k) * size // k for k, size in ((_ROWS, height), (_COLUMNS, width)))
    area = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    for start in range(0, n, _AT_ONCE):
        grey = images[start : start + _AT_ONCE].sum(axis=1, dtype=np.uint32)
        sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
        made[start : start + _AT_ONCE] = np.rint(sums / (area * images.shape[1]))
    return made.reshape(n, LOOK_BYTES)


def look_alike(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return which images look like one of some others, bool (n,).

    Args:
        mine: thumbnails, uint8 (n, 72).
        others: thumbnails, uint8 (m, 72).
    """
    found = np.zeros(len(mine), dtype=bool)
    of_mine, of_others = _Compared(mine), _Compared(others)
    for band in range(4):  # of 16 bits: pairs that agree in one of them are compared, which those of 3 bits or less do
        for a, b in _with_the_same(of_mine.bands[:, band], of_others.bands[:, band], of_mine.plain, of_others.plain):
            new = ~found[a]
            a, b = a[new], b[new]
            bits = np.bitwise_count(of_mine.hashes[a] ^ of_others.hashes[b])
            a, b = a[bits <= DISTANCE], b[bits <= DISTANCE]
            likeness = np.einsum("nk,nk->n", of_mine.scaled[a], of_others.scaled[b])
            found[a[likeness >= LIKENESS]] = True
    return found


class _Compared:
    """Thumbnails as they are compared: hashes and their bands, values of mean 0 and length 1, and which are plain."""

    def __init__(self, thumbnails: np.ndarray) -> None:
        values = thumbnails.astype(np.float32)
        values -= values.mean(axis=1, keepdims=True)
        spread = values.std(axis=1)
        self.plain = spread < _LEAST_CONTRAST
        self.scaled = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
        steps = np.diff(values.reshape(-1, _ROWS, _COLUMNS), axis=2).reshape(len(values), -1)
        packed = np.packbits(steps > _CLEARLY * spread[:, None], axis=1)
        self.hashes = np.ascontiguousarray(packed).view(np.uint64)[:, 0]
        self.bands = np.ascontiguousarray(packed).view(np.uint16)


def _with_the_same(
    mine: np.ndarray, others: np.ndarray, plain: np.ndarray, others_plain: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs of places whose keys are the same, some at a time; those of plain images are left out."""
    left, right = np.flatnonzero(~plain), np.flatnonzero(~others_plain)
    right = right[np.argsort(others[right], kind="stable")]
    starts = np.searchsorted(others[right], mine[left], side="left")
    counts = np.searchsorted(others[right], mine[left], side="right") - starts
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(left):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        some = counts[begin:end]
        within = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
        yield np.repeat(left[begin:end], some), right[np.repeat(starts[begin:end], some) + within]
        begin = end
