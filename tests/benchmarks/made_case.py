"""A case with images of noise, of any number of rows and tasks, for the benchmarks of training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.case.case import Case
from pipelines.case.load import load_case

CLASSES = [f"class {i}" for i in range(10)]
LABELS = [f"label {i}" for i in range(12)]


def made_case(
    folder: Path,
    rows: int,
    tasks: int = 2,
    *,
    related: bool = True,
    overrides: Sequence[str] = (),
    name: str = "made",
    size: int = 32,
) -> Case:
    """Write a case's data and return the case: tasks of ten classes and of twelve labels in turn, a dataset each.

    The network is the small CNN of CIFAR-10's case, the batch 128, one thread, AdamW; a run trains a shared network.

    Args:
        folder: where data and runs lie.
        rows: training rows in all, shared evenly by the datasets.
        tasks: how many.
        related: relate each task of classes to the task of labels after it, with DM and SCA.
        overrides: as ``--set`` takes them.
        name: of the case.
        size: height and width of the images.
    """
    named = [f"{'class' if i % 2 == 0 else 'labels'}{i}" for i in range(tasks)]
    content: dict[str, Any] = {
        "name": name,
        "data_root": str(folder),
        "input": {"height": size, "width": size},
        "tasks": {
            task: {"kind": "multiclass", "classes": CLASSES} if "class" in task else _multilabel() for task in named
        },
        "datasets": {},
        "relatedness": [],
        "network": {"backbone": "small_cnn", "widths": [32, 64, 128]},
        "training": {"steps": 100, "batch_size": 128},
        "arms": {"joint": {}},
        "evaluation": {"baseline": "joint"},
        "logging": {"relatedness_every": 0},
        "storage": {"path": str(folder / "runs")},
    }
    for i, task in enumerate(named):
        for split, count in (("train", rows // tasks), ("test", 8)):
            file = f"{name}-{task}-{split}.npz"
            _write(folder / file, count, task, [i, split == "test"], size)
            content["datasets"][f"{task}_{split}"] = {
                "source": {"kind": "numpy", "path": file},
                "labels": {task: {"from": "column", "column": task}},
                "split": split,
            }
    if related:
        table = {c: [LABELS[j], LABELS[(j + 2) % 12]] for j, c in enumerate(CLASSES)}
        content["relatedness"] = [
            {"from": a, "to": b, "table": table} for a, b in zip(named[::2], named[1::2], strict=False)
        ]
        content["training"]["matching"] = {"dm": {"weight": 0.3}, "sca": {"weight": 1.0, "tau_co": 0.1}}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_case(str(path), overrides)


def _multilabel() -> dict[str, Any]:
    return {"kind": "multilabel", "labels": LABELS}


def _write(file: Path, rows: int, task: str, seed: list[int], size: int) -> None:
    if file.exists():
        return
    random = np.random.default_rng(seed)
    labels = random.choice(CLASSES, rows) if "class" in task else random.random((rows, len(LABELS))) < 0.3
    np.savez(file, x=random.integers(0, 256, (rows, size, size, 3), dtype=np.uint8), **{task: labels})
