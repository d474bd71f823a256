"""The batch loader: a worker's shard of a step's mixed batch, as tensors."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mtlcore import MISSING, MixedLabels, Multilabel, Task
from pipelines.base.errors import UserError
from pipelines.batches.augmentation import augmented, draws_of, own_share, partner_rows
from pipelines.batches.mixing_rates import capped, capped_rows, proportional, rows_per_step, temperature, uniform
from pipelines.batches.normalize import normalize
from pipelines.batches.sampler import BatchSampler
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import PictureInput, VectorInput
from pipelines.case.training import Mixing, ProportionalMixing, SharesMixing, TemperatureMixing, UniformMixing


@dataclass(frozen=True)
class MixedBatch:
    """Rows of several datasets as one batch.

    Attributes:
        x: float32, (n, C, H, W) or (n, size), scaled as the case's ``input`` says.
        labels: by task, int64 (n,) or int8 (n, L); -1 where not annotated.
        mixed: where every input is a blend of two rows, the labels of those that were blended in.
    """

    x: Tensor
    labels: dict[str, Tensor]
    mixed: MixedLabels | None = None

    def to(self, device: torch.device) -> "MixedBatch":
        """Return the same on a device."""
        labels = {name: y.to(device, non_blocking=True) for name, y in self.labels.items()}
        return MixedBatch(self.x.to(device, non_blocking=True), labels, self.mixed and self.mixed.to(device))


def open_readers(case: Case, data_sets: DataSets, split: str) -> dict[str, BlockReader]:
    """Open the blocks of a split, by dataset."""
    tasks = list(tasks_of(case).values())
    return {
        name: BlockReader(local_blocks(data_sets.folders[name], manifest), tasks, manifest.excluded)
        for name, manifest in data_sets.of_split(split).manifests.items()
    }


def training_sizes(data_sets: DataSets) -> dict[str, int]:
    """Return the number of rows of every training dataset."""
    return {name: manifest.rows_used for name, manifest in data_sets.of_split("train").manifests.items()}


def batch_sampler(case: Case, sizes: Mapping[str, int], seed: int, tasks: Sequence[str]) -> BatchSampler:
    """Return the plan of a run.

    The batch is divided over ALL training datasets; a run that serves some of the tasks takes its part of the
    datasets labelled for them and leaves the rest of the batch out. So a single-task network sees the same
    labelled rows in the same order, for as many updates, as a joint one.

    Raises:
        UserError: ``training.mixing.max_repeats`` cannot be kept with one row of every dataset in a batch.
    """
    mixing = case.training.mixing
    shares = shares_of(mixing, sizes)
    per_step = rows_per_step(case.training.batch_size, shares)
    if mixing.max_repeats is not None:
        try:
            per_step = capped_rows(per_step, sizes, mixing.max_repeats)
        except ValueError as error:
            raise UserError(
                f"training.mixing.max_repeats: found {mixing.max_repeats:g}; {error} of {case.training.batch_size}; "
                "expected a larger max_repeats or batch_size"
            ) from None
    wanted = {name: n for name, n in per_step.items() if set(case.datasets[name].labels) & set(tasks)}
    return BatchSampler(seed, {name: sizes[name] for name in wanted}, wanted)


def shares_of(mixing: Mixing, sizes: Mapping[str, int]) -> dict[str, float]:
    """Return every dataset's share of a batch, from the number of its rows."""
    match mixing:
        case ProportionalMixing():
            shares = proportional(sizes)
        case UniformMixing():
            shares = uniform(sizes)
        case TemperatureMixing():
            shares = temperature(sizes, mixing.T)
        case SharesMixing():
            shares = {name: mixing.shares[name] for name in sizes}
    return shares if mixing.max_repeats is None else capped(shares, sizes, mixing.max_repeats)


def class_priors(case: Case, readers: Mapping[str, BlockReader]) -> dict[str, tuple[float, ...]]:
    """Return each task's prior: training labels counted, one added to every class, or to held and not held.

    A multiclass task's numbers sum to 1; a multilabel task's are the share of inputs on which each label holds.
    """
    tasks = tasks_of(case)
    # by task and output
    holds = {name: np.zeros(len(task.outputs)) for name, task in tasks.items()}
    annotated = {name: np.zeros(len(task.outputs)) for name, task in tasks.items()}
    for reader in readers.values():
        for part in reader.label_parts(list(tasks)):
            for name, task in tasks.items():
                labels = part[name]
                known = labels != MISSING
                annotated[name] += known.sum(axis=0)
                if isinstance(task, Multilabel):
                    holds[name] += (labels == 1).sum(axis=0)
                else:
                    holds[name] += np.bincount(labels[known], minlength=len(task.classes))
    both = {name: 2 if isinstance(task, Multilabel) else len(task.outputs) for name, task in tasks.items()}
    return {name: tuple(((holds[name] + 1) / (annotated[name] + both[name])).tolist()) for name in tasks}


def gather_batch(
    readers: Mapping[str, BlockReader],
    rows: Mapping[str, np.ndarray],
    tasks: Sequence[Task],
    scale: PictureInput | VectorInput,
) -> MixedBatch:
    """Read some rows of several datasets into one batch."""
    inputs, labels = _gathered(readers, rows, tasks)
    return MixedBatch(normalize(torch.from_numpy(inputs), scale), labels)


def training_batch(
    case: Case,
    readers: Mapping[str, BlockReader],
    plan: BatchSampler,
    step: int,
    rank: int,
    world_size: int,
    tasks: Sequence[Task],
) -> MixedBatch:
    """Read a worker's rows of a step into one batch, altered as ``training.augmentation`` says.

    What becomes of a row is a function of (plan's seed, step, row): the same on any number of workers, and for a
    network of one task as for one of all.
    """
    settings = case.training.augmentation
    rows = plan.worker_rows(step, rank, world_size)
    if not settings.mixup and not settings.of_pictures:
        return gather_batch(readers, rows, tasks, case.input)
    draws = {name: draws_of(plan.seed, step, zlib.crc32(name.encode()), of_set) for name, of_set in rows.items()}
    inputs, labels = _gathered(readers, rows, tasks)
    x = augmented(inputs, np.concatenate([of_set.own for of_set in draws.values()]), settings, case.input)
    if not settings.mixup:
        return MixedBatch(x, labels)
    partners = {name: partner_rows(draws[name], of_set, plan.sizes[name]) for name, of_set in rows.items()}
    inputs, of_partners = _gathered(readers, partners, tasks)
    other = augmented(inputs, np.concatenate([of_set.of_partner for of_set in draws.values()]), settings, case.input)
    own = own_share(plan.seed, step, settings.mixup)
    return MixedBatch(x.lerp_(other, 1 - own), labels, MixedLabels(of_partners, own))


def _gathered(
    readers: Mapping[str, BlockReader], rows: Mapping[str, np.ndarray], tasks: Sequence[Task]
) -> tuple[np.ndarray, dict[str, Tensor]]:
    parts = [readers[name].gather(of_set) for name, of_set in rows.items()]
    labels = {task.name: torch.from_numpy(np.concatenate([p.labels[task.name] for p in parts])) for task in tasks}
    return np.concatenate([part.inputs for part in parts]), labels
