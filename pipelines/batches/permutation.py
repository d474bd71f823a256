"""A pseudo-random permutation in constant memory: the row at any position is computed, not looked up."""

import numpy as np

from pipelines.batches.counter_random import GOLDEN, key_of, mixed_bits

_ROUNDS = 6  # four make a pseudo-random permutation in theory; two more, as halves of a small range have few bits


def permute_indices(positions: np.ndarray, size: int, key: tuple[int, ...]) -> np.ndarray:
    """Return where a permutation of ``range(size)`` sends some positions.

    A Feistel network over the smallest even number of bits that holds ``size``, walked on until it falls inside
    (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). A function of its arguments alone, in time
    proportional to the positions asked for.

    Args:
        positions: integer, shape (n,), each in [0, size).
        size: length of the permuted range, at least 1.
        key: integers in [0, 2**63) that choose the permutation.

    Returns:
        int64, shape (n,).
    """
    assert size >= 1
    assert positions.size == 0 or (positions.min() >= 0 and positions.max() < size)
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    with np.errstate(over="ignore"):
        seed = key_of(*key)
        keys = [mixed_bits(seed + GOLDEN * np.uint64(r + 1)) for r in range(_ROUNDS)]

    def once(x: np.ndarray) -> np.ndarray:
        left, right = x >> half, x & low
        for round_key in keys:
            left, right = right, left ^ (mixed_bits(right ^ round_key) & low)
        return (left << half) | right

    rows = once(positions.astype(np.uint64))
    # Cycle walking: the domain is at most four times the range, so a few rounds bring every position inside.
    while (outside := rows >= np.uint64(size)).any():
        rows[outside] = once(rows[outside])
    return rows.astype(np.int64)
