"""The mixed batch of a step: a worker's rows read from blocks, then altered and normalized on its device."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mtlcore import MISSING, MixedLabels, Task
from pipelines.base.errors import UserError
from pipelines.batches.augmentation import (
    alter,
    alterations,
    draws_of,
    own_share,
    partner_rows,
    perturbations,
    strong_draws,
)
from pipelines.batches.mixing_rates import capped, capped_rows, proportional, rows_per_step, temperature, uniform
from pipelines.batches.sampler import BatchSampler
from pipelines.batches.votes import with_drawn_votes
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import VectorInput
from pipelines.case.training import Mixing, ProportionalMixing, SharesMixing, TemperatureMixing, UniformMixing
from pipelines.case.unlabelled import StrongView

_ROWS_AT_ONCE = 4096
_TORCH = {"uint8": torch.uint8, "float32": torch.float32}


@dataclass(frozen=True)
class MixedBatch:
    """Rows of several datasets as one batch.

    Attributes:
        x: float32, (n, C, H, W) or (n, size), normalized as the case's ``input`` says.
        labels: by task, int64 (n,), int8 (n, L) or float32 (n, K); -1 or NaN where not annotated.
        mixed: where every input is a blend of two rows, the labels of those that were blended in.
        strong: a strong view of the same rows, of ``x``'s shape; None where nothing asks for it.
    """

    x: Tensor
    labels: dict[str, Tensor]
    mixed: MixedLabels | None = None
    strong: Tensor | None = None


@dataclass(frozen=True)
class StoredRows:
    """Some rows as blocks hold them: images are still uint8, a quarter of what a network takes.

    Attributes:
        inputs: uint8 (n, C, H, W) or float32 (n, size); or int64 (n,), places in what the device holds already.
        labels: by task, int64 (n,), int8 (n, L) or float32 (n, K); -1 or NaN where not annotated.
        alterations: float32 (n, 11), see :func:`pipelines.batches.augmentation.alterations`; None where there are none.
    """

    inputs: Tensor
    labels: dict[str, Tensor]
    alterations: Tensor | None = None

    def to(self, device: torch.device) -> "StoredRows":
        """Return the same on a device; from pinned memory the host does not wait for it."""
        return StoredRows(
            self.inputs.to(device, non_blocking=True),
            {name: y.to(device, non_blocking=True) for name, y in self.labels.items()},
            None if self.alterations is None else self.alterations.to(device, non_blocking=True),
        )


@dataclass(frozen=True)
class StoredBatch:
    """A worker's shard of a step's batch before it is altered and normalized.

    Attributes:
        own: the rows of the step.
        partners: what mixup blends into each; None without mixup.
        own_share: how much of a blend is the row's own.
        strong: what makes the strong view of each: of images as ``alterations``, of vectors as
            :func:`pipelines.batches.augmentation.perturbations`; None without one.
    """

    own: StoredRows
    partners: StoredRows | None = None
    own_share: float = 1.0
    strong: Tensor | None = None

    def to(self, device: torch.device) -> "StoredBatch":
        """Return the same on a device."""
        return StoredBatch(
            self.own.to(device),
            self.partners and self.partners.to(device),
            self.own_share,
            None if self.strong is None else self.strong.to(device, non_blocking=True),
        )


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


def batch_sampler(
    case: Case, sizes: Mapping[str, int], seed: int, tasks: Sequence[str], batch: Literal["own", "shared"] = "shared"
) -> BatchSampler:
    """Return the plan of a run.

    Args:
        case: the case.
        sizes: rows of every training dataset.
        seed: of the run.
        tasks: those that the run serves.
        batch: ``own``: the whole batch is divided over the datasets that are labelled for the tasks. ``shared``: it
            is divided over ALL training datasets, and the run takes its part and leaves the rest of the batch out,
            so that it sees the same labelled rows in the same order as a network of all tasks.

    Raises:
        UserError: ``training.mixing.max_repeats`` cannot be kept with one row of every dataset in a batch.
    """
    mixing = case.training.mixing
    # A dataset without a label for these tasks would fill the batch with rows that no loss counts.
    labelled = [name for name in sizes if set(case.datasets[name].labels) & set(tasks)]
    if batch == "own":
        sizes = {name: sizes[name] for name in labelled}
    shares = shares_of(mixing, sizes)
    per_step = rows_per_step(case.training.batch_size, shares)
    if mixing.max_repeats is not None:
        # Capped a second time: shares keep the bound, whole rows of a small batch may break it.
        try:
            per_step = capped_rows(per_step, sizes, mixing.max_repeats)
        except ValueError as error:
            raise UserError(
                f"training.mixing.max_repeats: found {mixing.max_repeats:g}; {error} of {case.training.batch_size}; "
                "expected a larger max_repeats or batch_size"
            ) from None
    served = {name: n for name, n in per_step.items() if name in labelled}
    return BatchSampler(seed, {name: sizes[name] for name in served}, served)


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

    A multiclass (or ordinal) task's numbers sum to 1; a multilabel task's are the share of inputs on which each label
    holds. A regression task has none.
    """
    tasks = {name: task for name, task in tasks_of(case).items() if task.encoding != "numbers"}
    # by task and output
    holds = {name: np.zeros(len(task.outputs)) for name, task in tasks.items()}
    annotated = {name: np.zeros(len(task.outputs)) for name, task in tasks.items()}
    for reader in readers.values():
        # In parts: the labels of hundreds of outputs and millions of rows need not be in memory at once.
        for labels_by_task in reader.label_parts(list(tasks)):
            for name, task in tasks.items():
                labels = labels_by_task[name]
                known = labels != MISSING
                annotated[name] += known.sum(axis=0)
                if task.encoding == "labels":
                    holds[name] += (labels == 1).sum(axis=0)
                else:
                    holds[name] += np.bincount(labels[known], minlength=len(task.outputs))
    # One is added to each state, so that a class that has not been seen keeps a probability to be divided by.
    states = {name: 2 if task.encoding == "labels" else len(task.outputs) for name, task in tasks.items()}
    return {name: tuple(((holds[name] + 1) / (annotated[name] + states[name])).tolist()) for name in tasks}


def stored_batch(
    case: Case,
    readers: Mapping[str, BlockReader],
    plan: BatchSampler,
    step: int,
    rank: int,
    world_size: int,
    tasks: Sequence[Task],
    *,
    pinned: bool = False,
    resident: bool = False,
    strong: StrongView | None = None,
) -> StoredBatch:
    """Read a worker's rows of a step, and work out how ``training.augmentation`` alters them.

    What becomes of a row is a function of (plan's seed, step, row): the same on any number of workers, and for a
    network of one task as for one of all.

    Args:
        case: the case.
        readers: of the training blocks, by dataset.
        plan: which rows a step takes.
        step: of the run.
        rank: of the worker.
        world_size: the number of workers.
        tasks: whose labels are wanted.
        pinned: gather into page-locked memory, from which a GPU copies beside its other work.
        resident: leave the inputs where they are, and return their places in what :func:`resident_inputs` holds.
        strong: the settings of a second view of every row; None where there is none.
    """
    settings = case.training.augmentation
    rows = plan.worker_rows(step, rank, world_size)

    def stored(rows: Mapping[str, np.ndarray], draws: list[np.ndarray] | None, part: int = 0) -> StoredRows:
        # Labels are read on the host in any case: a few bytes a row, wanted by task and not by dataset.
        if resident:
            inputs = _places(readers, rows)
            parts = [readers[name].gather_labels(of_dataset) for name, of_dataset in rows.items()]
        else:
            inputs, parts = _gathered(readers, rows, pinned)
        for i, (name, of_dataset) in enumerate(rows.items()):
            if shares := readers[name].gather_shares(of_dataset):
                key = (plan.seed % 2**63, step, zlib.crc32(name.encode()), part)
                parts[i] = with_drawn_votes(parts[i], shares, of_dataset, key)
        labels = {
            task.name: _pinned(torch.from_numpy(np.concatenate([part[task.name] for part in parts])), pinned)
            for task in tasks
        }
        columns = None
        if draws is not None and settings.of_pictures:
            columns = _pinned(alterations(np.concatenate(draws), settings, case.input.shape), pinned)
        return StoredRows(_pinned(inputs, pinned), labels, columns)

    strong_view = None if strong is None else _pinned(_strong_view(case, strong, plan.seed, step, rows), pinned)
    if not settings.mixup and not settings.of_pictures:
        return StoredBatch(stored(rows, None), strong=strong_view)
    draws = {
        name: draws_of(plan.seed, step, zlib.crc32(name.encode()), of_dataset) for name, of_dataset in rows.items()
    }
    own = stored(rows, [of_dataset.own for of_dataset in draws.values()])
    if not settings.mixup:
        return StoredBatch(own, strong=strong_view)
    partners = {name: partner_rows(draws[name], of_dataset, plan.sizes[name]) for name, of_dataset in rows.items()}
    of_partners = stored(partners, [of_dataset.of_partner for of_dataset in draws.values()], part=1)
    return StoredBatch(own, of_partners, own_share(plan.seed, step, settings.mixup))


def _strong_view(case: Case, strong: StrongView, seed: int, step: int, rows: Mapping[str, np.ndarray]) -> Tensor:
    """Work out the strong view of some rows, by dataset, as :attr:`StoredBatch.strong` holds it."""
    datasets = [(zlib.crc32(name.encode()), of_dataset) for name, of_dataset in rows.items()]
    if isinstance(case.input, VectorInput):
        size = case.input.size
        parts = [perturbations(seed, step, *one, size, strong.noise, strong.dropout) for one in datasets]
        return torch.cat(parts)
    draws = np.concatenate([strong_draws(seed, step, *one) for one in datasets])
    return alterations(draws, strong.over(case.training.augmentation), case.input.shape)


def finish_batch(
    batch: StoredBatch, case: Case, resident: Tensor | None = None, strong: StrongView | None = None
) -> MixedBatch:
    """Alter, normalize and blend a stored batch, on the device that it lies on.

    Args:
        batch: on the worker's device.
        case: the case.
        resident: the inputs of all rows on that device, where the batch holds places in it alone.
        strong: the settings of the strong view, where the batch has one.
    """
    settings = case.training.augmentation

    def stored(rows: StoredRows) -> Tensor:
        return rows.inputs if resident is None else resident.index_select(0, rows.inputs)

    inputs = stored(batch.own)
    x = alter(inputs, batch.own.alterations, settings, case.input)
    if batch.partners is None:
        view = None
        if strong is not None and batch.strong is not None:
            if isinstance(case.input, VectorInput):
                view = x * batch.strong[:, 0] + batch.strong[:, 1]
            else:
                view = alter(inputs, batch.strong, strong.over(settings), case.input)
        return MixedBatch(x, batch.own.labels, strong=view)
    # Blended after both are altered: each keeps a crop and colours of its own.
    partners = alter(stored(batch.partners), batch.partners.alterations, settings, case.input)
    x = x.lerp_(partners, 1 - batch.own_share)
    return MixedBatch(x, batch.own.labels, MixedLabels(batch.partners.labels, batch.own_share))


def resident_inputs(readers: Mapping[str, BlockReader], device: torch.device) -> Tensor:
    """Return the inputs of all rows of some datasets on a device, dataset after dataset, as blocks hold them."""
    first = next(iter(readers.values()))
    total = sum(len(reader) for reader in readers.values())
    inputs = torch.empty((total, *first.input_shape), dtype=_TORCH[first.input_dtype.name], device=device)
    start = 0
    for reader in readers.values():
        for begin in range(0, len(reader), _ROWS_AT_ONCE):
            rows = np.arange(begin, min(begin + _ROWS_AT_ONCE, len(reader)))
            inputs[start + begin : start + begin + len(rows)] = torch.from_numpy(reader.gather(rows).inputs)
        start += len(reader)
    return inputs


def resident_bytes(readers: Mapping[str, BlockReader]) -> int:
    """Return the memory that :func:`resident_inputs` takes."""
    return sum(
        len(reader) * int(np.prod(reader.input_shape)) * reader.input_dtype.itemsize for reader in readers.values()
    )


def _places(readers: Mapping[str, BlockReader], rows: Mapping[str, np.ndarray]) -> Tensor:
    starts, start = {}, 0
    for name, reader in readers.items():
        starts[name], start = start, start + len(reader)
    return torch.from_numpy(np.concatenate([of_dataset + starts[name] for name, of_dataset in rows.items()]))


def _gathered(
    readers: Mapping[str, BlockReader], rows: Mapping[str, np.ndarray], pinned: bool
) -> tuple[Tensor, list[dict[str, np.ndarray]]]:
    """Return the inputs of all rows in one tensor, and the labels dataset by dataset."""
    total = sum(map(len, rows.values()))
    reader = next(iter(readers.values()))
    inputs = torch.empty((total, *reader.input_shape), dtype=_TORCH[reader.input_dtype.name], pin_memory=pinned)
    # Readers write into their part of the batch itself: to join what they return would copy every input again.
    out, start, labels = inputs.numpy(), 0, []
    for name, of_dataset in rows.items():
        labels.append(readers[name].gather(of_dataset, out[start : start + len(of_dataset)]).labels)
        start += len(of_dataset)
    return inputs, labels


def _pinned(tensor: Tensor, pinned: bool) -> Tensor:
    return tensor.pin_memory() if pinned and not tensor.is_pinned() else tensor
