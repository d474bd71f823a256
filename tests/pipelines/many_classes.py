"""A case of ten thousand classes of which nobody writes a list, on vectors that nobody can learn from."""

import json

import numpy as np

from pipelines.case.load import load_case

LABELS = [f"label {i}" for i in range(12)]
TASK_OF_CLASSES = "person"


def many_classes_case(folder, *, classes, train, validation, test, vocabulary=None, **overrides):
    """Write the arrays and return the case: three arms of two seeds, a network of 16 units.

    Args:
        folder: where everything lies.
        classes: how many; every one stands in the training rows if there are as many.
        train: training rows.
        validation: validation rows.
        test: test rows.
        vocabulary: how the case says its classes; by default as they stand in the data.
        overrides: sections of the case, in the place of these.
    """
    random = np.random.default_rng(0)
    names = np.array([f"person {i:05d}" for i in range(classes)])
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        of_rows = np.concatenate([random.permutation(names), random.choice(names, max(0, rows - classes))])[:rows]
        x, holds = random.standard_normal((rows, 8), dtype=np.float32), random.random((rows, len(LABELS))) < 0.3
        np.savez(folder / f"{split}.npz", x=x, person=of_rows, traits=holds)
    (folder / "classes.txt").write_text("\n".join(names))
    labels = {name: {"from": "column", "column": name} for name in (TASK_OF_CLASSES, "traits")}
    case = {
        "name": "many-classes",
        "data_root": str(folder),
        "input": {"kind": "vector", "size": 8},
        "tasks": {
            TASK_OF_CLASSES: {"kind": "multiclass", "classes": vocabulary or {"from": "data"}},
            "traits": {"kind": "multilabel", "labels": LABELS},
        },
        "datasets": {
            split: {"source": {"kind": "numpy", "path": f"{split}.npz"}, "labels": labels, "split": split}
            for split in ("train", "validation", "test")
        },
        "network": {"backbone": "mlp", "widths": [16]},
        "training": {"steps": 2, "batch_size": 64, "seeds": [0, 1]},
        "arms": {
            "single-task": {"networks": "one_per_task"},
            "naive": {"matching": "none"},
            "weighted": {"matching": "none", "task_weights": {"traits": 2.0}},
        },
        "evaluation": {"baseline": "single-task", "main_task": TASK_OF_CLASSES},
        "logging": {"relatedness_every": 0},
        "ingest": {"leakage": "keep"},
        "storage": {"path": str(folder / "runs")},
    } | overrides
    file = folder / "many.yaml"
    file.write_text(json.dumps(case))
    return load_case(str(file))
