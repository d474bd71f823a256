"""The seed of a step's random draws, the same on every worker."""

import numpy as np


def seed_of_step(seed: int, step: int) -> int:
    """Return 32 well mixed bits that depend on the seed and the step alone.

    Example:
        >>> from mtlcore.balancing.seeds import seed_of_step
        >>> seed_of_step(3, 7) == seed_of_step(3, 7) != seed_of_step(7, 3)
        True
    """
    return int(np.random.SeedSequence([seed % 2**64, step]).generate_state(1)[0])
