"""Counter-based random numbers: the n-th number of a key is computed without the ones before it.

So what is random about a row is a function of the key and the row, whoever asks, in whatever order, beside whatever
other rows. See J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import numpy as np

# 2**64 divided by the golden ratio, splitmix64's increment: multiples of it spread evenly, whatever the count.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed_bits(x: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): every input bit reaches every output bit."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def key_of(*parts: int) -> np.ndarray:
    """Return a key, uint64 of shape (1,), that any change of a part changes.

    Args:
        parts: integers in [0, 2**64), at least one.
    """
    key = np.zeros(1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            key = mixed_bits((key + GOLDEN) ^ np.uint64(part))
    return key


def uniform_draws(key: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` numbers for every row, uniform in [0, 1).

    Args:
        key: as :func:`key_of` makes it.
        rows: integer, shape (n,), not negative.
        count: how many for each.

    Returns:
        float64, shape (n, count); a row's numbers are a function of the key and the row alone.
    """
    with np.errstate(over="ignore"):
        of_row = mixed_bits(key + GOLDEN * (rows.astype(np.uint64) + np.uint64(1)))
        bits = mixed_bits(of_row[:, None] + GOLDEN * np.arange(1, count + 1, dtype=np.uint64))
    # 53 bits are what a float64 holds: every draw is a multiple of the same step, and none rounds up to 1.
    return (bits >> np.uint64(11)) * 2.0**-53
