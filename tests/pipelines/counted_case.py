"""A case whose network counts its rows: a set of 400 and one of 30, of numbers, labelled for different tasks."""

import numpy as np
import yaml

SIZES = {"many": 400, "few": 30}
_FIRST = {"many": 1, "few": 401, "test": 431}  # the number of each set's first row


def write_counted_case(folder, options=None, **training):
    """Write data and case file; return the case file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.Generator(np.random.PCG64(0))
    for name, size in (SIZES | {"test": 50}).items():
        features = draw.normal(size=(size, 4))
        numbers = np.arange(_FIRST[name], _FIRST[name] + size)[:, None]
        columns = {
            "x": np.hstack([numbers, features]).astype(np.float32),
            "kind": (features[:, 0] > 0).astype(int) + (features[:, 1] > 0),
            "signs": (features[:, :3] > 0).astype(np.int8),
        }
        np.savez(folder / f"{name}.npz", **columns)
    case = {
        "name": "counted",
        "data_root": str(folder),
        "input": {"kind": "vector", "size": 5},
        "tasks": {
            "kind": {"kind": "multiclass", "classes": ["0", "1", "2"]},
            "signs": {"kind": "multilabel", "labels": ["a", "b", "c"]},
        },
        "datasets": {
            name: {
                "source": {"kind": "numpy", "path": f"{name}.npz"},
                "labels": {task: {"from": "column", "column": task} for task in tasks},
                "split": "test" if name == "test" else "train",
            }
            for name, tasks in (("many", ["signs"]), ("few", ["kind"]), ("test", ["kind", "signs"]))
        },
        "relatedness": [
            {"from": "kind", "to": "signs", "table": {"0": [], "1": {"a": 0.5, "b": 0.5}, "2": ["a", "b"]}}
        ],
        "network": {
            "backbone": "tests.counting_backbone:CountingBackbone",
            "options": {"rows": sum(SIZES.values())} | (options or {}),
        },
        "training": {
            "steps": 120,
            "batch_size": 24,
            "mixing": {"many": 2, "few": 1},
            "matching": {"dm": {"weight": 0.3}, "sca": {"weight": 0.3}, "trust": "estimated"},
            "balancing": {"method": "dwa", "period": 7},
            "checkpoints": {"every_steps": 5},
        }
        | training,
        "arms": {"co-trained": {}},
        "evaluation": {"baseline": "co-trained"},
        "logging": {"every": 4, "relatedness_every": 10},
    }
    file = folder / "counted.yaml"
    file.write_text(yaml.safe_dump(case))
    return file


def planned_counts(plan, steps):
    """Return how often the plan asks for each row, as the network counts them."""
    counts = np.zeros(sum(SIZES.values()) + 1, dtype=np.int64)
    for step in range(steps):
        for name, rows in plan.rows(step).items():
            np.add.at(counts, _FIRST[name] + rows, 1)
    return counts
