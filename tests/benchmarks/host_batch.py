"""Batches on the host, for tests and benchmarks: what a worker's loader and its device do, one after the other."""

import numpy as np
import torch

from pipelines.batches.augmentation import alter, alterations
from pipelines.batches.batch import MixedBatch, finish_batch, stored_batch
from pipelines.batches.normalize import normalize
from pipelines.case.data import VectorInput


def augmented(inputs, draws, settings, scale):
    """Return inputs as the network sees them, altered by their draws, shape (n, 12)."""
    columns = None if isinstance(scale, VectorInput) else alterations(draws, settings, inputs.shape[1:])
    return alter(torch.from_numpy(inputs), columns, settings, scale)


def training_batch(case, readers, plan, step, rank, world_size, tasks):
    """Return a worker's shard of a step's batch."""
    return finish_batch(stored_batch(case, readers, plan, step, rank, world_size, tasks), case)


def gather_batch(readers, rows, tasks, scale):
    """Return some rows of several datasets as one batch, unaltered."""
    parts = [readers[name].gather(of_dataset) for name, of_dataset in rows.items()]
    labels = {task.name: torch.from_numpy(np.concatenate([part.labels[task.name] for part in parts])) for task in tasks}
    return MixedBatch(normalize(torch.from_numpy(np.concatenate([part.inputs for part in parts])), scale), labels)
