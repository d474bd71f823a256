"""Search spaces for `kindred tune`: one module per space, each with a function ``space()``.

A space maps a case file's key to a sampling function of ray.tune.
"""

import pkgutil


def space_names() -> list[str]:
    """Return the names that ``tuning.space`` may have; imports nothing."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
