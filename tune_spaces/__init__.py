"""Search spaces for `kindred tune`: one module per space, each with a function ``space()``.

A space maps a case file's key to a sampling function of ray.tune.
"""

import importlib
import pkgutil
from typing import Any


def space_names() -> list[str]:
    """Return the names that ``tuning.space`` may have; imports nothing."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_space(name: str) -> dict[str, Any]:
    """Return the space of that name: sampling functions by case-file key."""
    space: dict[str, Any] = importlib.import_module(f"tune_spaces.{name}").space()
    return space
