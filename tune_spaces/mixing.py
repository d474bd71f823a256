"""Search space: how a batch is divided over the training datasets.

From proportional to size (T = 1) to the same share for all (T without end). Temperatures between are those of the
literature on multilingual training (2 to 10): there a small dataset is seen often enough and not only repeated. How
often it may be repeated is bounded, or not.
"""

from typing import Any


def space() -> dict[str, Any]:
    """Return the space; a kind of mixing is drawn as a whole, since each has keys of its own."""
    temperatures = [{"kind": "temperature", "T": T} for T in (2.0, 3.0, 5.0, 10.0)]
    repeated = [{"kind": kind, "max_repeats": 10.0} for kind in ("uniform", "temperature")]
    return {"training.mixing": {"choice": ["proportional", "uniform", *temperatures, *repeated]}}
