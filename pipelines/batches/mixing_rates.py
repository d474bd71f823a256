"""Mixing rates: from dataset sizes to each dataset's share of a batch, as pure functions.

A share is a positive number; a batch is divided in proportion. The names are those of T5 and SeqIO (C. Raffel et al.,
JMLR 21, 2020, section 3.5.2; A. Roberts et al., JMLR 24, 2023).
"""

from collections.abc import Mapping


def proportional(sizes: Mapping[str, int]) -> dict[str, float]:
    """Return shares in proportion to size: every row of every dataset is used equally often.

    Args:
        sizes: the number of rows of each dataset, at least 1.
    """
    return {name: float(size) for name, size in sizes.items()}


def uniform(sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the same share for every dataset."""
    return dict.fromkeys(sizes, 1.0)


def temperature(sizes: Mapping[str, int], T: float) -> dict[str, float]:
    r"""Return shares :math:`size^{1/T}`: T = 1 is proportional, larger is closer to uniform.

    Args:
        sizes: the number of rows of each dataset, at least 1.
        T: the temperature, > 0.
    """
    # Relative to the largest: shares are proportions, and so no power overflows.
    largest = max(sizes.values())
    return {name: (size / largest) ** (1 / T) for name, size in sizes.items()}


def capped(shares: Mapping[str, float], sizes: Mapping[str, int], max_repeats: float) -> dict[str, float]:
    r"""Lower the shares of small datasets, so that none is repeated too often while the largest is used once.

    Dataset d is repeated :math:`(s_d / n_d) / (s_L / n_L)` times while the largest, L, is used once. Where that is more
    than ``max_repeats``, its share is lowered to that bound; since a batch is divided in proportion, the rest goes to
    the other datasets in proportion to their shares.

    Args:
        shares: by dataset, positive.
        sizes: the number of rows of each dataset, at least 1. Of several largest, the one with the largest share
            counts.
        max_repeats: at least 1.
    """
    largest = _largest(shares, sizes)
    rate = shares[largest] / sizes[largest]
    return {name: min(share, max_repeats * rate * sizes[name]) for name, share in shares.items()}


def rows_per_step(batch_size: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide a batch over datasets in proportion to their shares, by largest remainder; each gets at least one.

    Raises:
        ValueError: there are more datasets than rows.
    """
    if batch_size < len(shares):
        raise ValueError(f"a batch of {batch_size} has no row for each of {len(shares)} datasets")
    total = sum(shares.values())
    exact = {name: batch_size * share / total for name, share in shares.items()}
    # One at least: a task without a row in any step would never be trained.
    rows = {name: max(1, int(value)) for name, value in exact.items()}
    while sum(rows.values()) < batch_size:
        rows[max(rows, key=lambda name: exact[name] - rows[name])] += 1
    while sum(rows.values()) > batch_size:
        rows[max(rows, key=lambda name: (rows[name] > 1, rows[name] - exact[name]))] -= 1
    return rows


def capped_rows(rows: Mapping[str, int], sizes: Mapping[str, int], max_repeats: float) -> dict[str, int]:
    """Move rows of a batch to the largest dataset until whole rows keep the bound too: rounding may have broken it.

    Args:
        rows: of each dataset in a batch, as :func:`rows_per_step` gives them.
        sizes: the number of rows of each dataset.
        max_repeats: as for :func:`capped`.

    Raises:
        ValueError: a dataset is gone through more often with one row in a batch; its message says how often.
    """
    per_step, largest = dict(rows), _largest(rows, sizes)

    def repeats(name: str) -> float:
        return per_step[name] * sizes[largest] / (sizes[name] * per_step[largest])

    # The margin is for rounding: a share that is capped stands exactly at the bound.
    while repeats(worst := max(per_step, key=repeats)) > max_repeats * (1 + 1e-9):
        if per_step[worst] == 1:
            raise ValueError(
                f"{worst!r} ({sizes[worst]:,} rows) is gone through {repeats(worst):,.1f} times while {largest!r} "
                f"({sizes[largest]:,} rows) is once, even with one row in a batch"
            )
        per_step[worst] -= 1
        per_step[largest] += 1
    return per_step


def _largest(shares: Mapping[str, float], sizes: Mapping[str, int]) -> str:
    return max(shares, key=lambda name: (sizes[name], shares[name]))
