"""Seeded parameter initialisation that leaves the global random state alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_init(seed: int) -> Iterator[None]:
    """Draw the parameters of networks built inside from ``seed``; nobody else's random state is touched.

    Example:
        >>> import torch
        >>> from mtlcore import seeded_init
        >>> with seeded_init(7):
        ...     first = torch.nn.Linear(2, 2)
        >>> with seeded_init(7):
        ...     again = torch.nn.Linear(2, 2)
        >>> torch.equal(first.weight, again.weight)
        True
    """
    # Layers take no generator: what they draw from is the global state, which is lent and given back.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
