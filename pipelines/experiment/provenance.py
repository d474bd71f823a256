"""The provenance of a run: what decides whether it is done and whether it can be resumed."""

from importlib.metadata import version
from typing import Any

from pipelines.blocks.datasets import DataSets

# Raise it whenever the same case, seed and blocks train to other numbers than before: a run of another version
# counts as not done, and is not resumed. tests/pipelines/test_golden_numbers.py fails where it was forgotten.
TRAINING_VERSION = 4
# Raise it whenever the same runs are evaluated to other results than before: `kindred run` then evaluates them again.
EVALUATION_VERSION = 5


def provenance(data_sets: DataSets) -> dict[str, Any]:
    """Return what, beside the case, a run depends on: training version, torch, and all blocks but the test split's.

    Validation may choose the weights, and when to stop.
    """
    blocks = {name: of.used_hash for name, of in data_sets.manifests.items() if of.split != "test"}
    return {"training_version": TRAINING_VERSION, "torch": version("torch"), "blocks": blocks}
