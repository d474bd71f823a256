"""From a step's rows to tensors: a worker's part of the mixed batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlcore import MISSING, Multilabel, Task
from pipelines.block_cache import local_blocks
from pipelines.blocks import BlockReader
from pipelines.case import Case, PictureInput, VectorInput
from pipelines.manifest import Manifest
from pipelines.method import tasks_of
from pipelines.mixing import MixingPlan, rows_per_step


@dataclass(frozen=True)
class MixedBatch:
    """Rows of several data sets as one batch.

    Attributes:
        x: float32, (n, C, H, W) or (n, size), scaled as the case's ``input`` says.
        labels: by task, int64 (n,) or int8 (n, L); -1 where not annotated.
    """

    x: Tensor
    labels: dict[str, Tensor]


def open_readers(case: Case, data_sets: Mapping[str, tuple[str, Manifest]], split: str) -> dict[str, BlockReader]:
    """Open the blocks of a split, by data set."""
    tasks = list(tasks_of(case).values())
    return {
        name: BlockReader(local_blocks(folder, manifest), tasks, manifest.excluded)
        for name, (folder, manifest) in data_sets.items()
        if manifest.split == split
    }


def mixing_plan(case: Case, sizes: Mapping[str, int], seed: int, tasks: Sequence[str]) -> MixingPlan:
    """Return the plan of a run.

    The batch is divided over ALL training data sets; a run that serves some of the tasks takes its part of the
    data sets labelled for them and leaves the rest of the batch out. So a single-task network sees the same
    labelled rows in the same order, for as many updates, as a joint one.
    """
    shares = case.training.mixing or {name: float(size) for name, size in sizes.items()}
    per_step = rows_per_step(case.training.batch_size, {name: shares[name] for name in sizes})
    wanted = {name: n for name, n in per_step.items() if set(case.datasets[name].labels) & set(tasks)}
    return MixingPlan(seed, {name: sizes[name] for name in wanted}, wanted)


def class_priors(case: Case, readers: Mapping[str, BlockReader]) -> dict[str, tuple[float, ...]]:
    """Return each task's prior: training labels counted, one added to every class, or to held and not held.

    A multiclass task's numbers sum to 1; a multilabel task's are the share of inputs on which each label holds.
    """
    priors = {}
    for name, task in tasks_of(case).items():
        labels = np.concatenate([reader.labels[name] for reader in readers.values()])
        if isinstance(task, Multilabel):
            annotated = (labels != MISSING).sum(axis=0)
            priors[name] = tuple((((labels == 1).sum(axis=0) + 1) / (annotated + 2)).tolist())
        else:
            counts = 1.0 + np.bincount(labels[labels != MISSING], minlength=len(task.classes))
            priors[name] = tuple((counts / counts.sum()).tolist())
    return priors


def gather_batch(
    readers: Mapping[str, BlockReader],
    rows: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    scale: PictureInput | VectorInput,
) -> MixedBatch:
    """Read some rows of several data sets into one batch."""
    parts = [readers[name].gather(of_set) for name, of_set in rows.items()]
    inputs = torch.from_numpy(np.concatenate([part.inputs for part in parts]))
    labels = {task.name: torch.from_numpy(np.concatenate([p.labels[task.name] for p in parts])) for task in tasks}
    return MixedBatch(scaled(inputs, scale), labels)


def scaled(inputs: Tensor, scale: PictureInput | VectorInput) -> Tensor:
    """Turn inputs into the network's: (value - mean) / std in float32, where a picture's value is pixel / 255."""
    values = inputs.float()
    if isinstance(scale, PictureInput):
        values = values.div_(255)
    return values.sub_(scale.mean).div_(scale.std)
