"""Search spaces for `kindred tune`: one module per space, each with a function ``space``.

A space maps a dotted key of the case file to how its values are drawn, in the form that the case file itself takes:
``{"loguniform": [low, high]}``, ``{"uniform": [low, high]}``, ``{"randint": [low, high]}`` (the high end left out) or
``{"choice": [value, ...]}``; beside it, ``"when": {key: value or values}`` draws it only where another key has that
value. ``space`` takes nothing, or the case as plain values. Nothing here imports anything: a space is read before Ray.
"""

import pkgutil


def space_names() -> list[str]:
    """Return the names that ``tuning.space`` may have; imports nothing."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))
