"""Predict a split with trained runs: in this process, or spread over the cluster with the device of training."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlcore import MultiTaskNetwork
from pipelines.base.progress import bar
from pipelines.base.ray_session import need_ray
from pipelines.base.waiting import a_processor
from pipelines.batches.batch import open_readers
from pipelines.batches.normalize import normalize
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import rebuild_network, tasks_of
from pipelines.case.case import Case
from pipelines.evaluate.forward import ROWS_AT_ONCE, forward_in_batches
from pipelines.evaluate.on_demand import OnDemand
from pipelines.experiment.run import Run, read_weights
from pipelines.train.worker import allow_tf32

_ROWS_IN_MEMORY = 4 * ROWS_AT_ONCE
_ROWS_WORTH_A_TASK = 16 * _ROWS_IN_MEMORY  # which builds the network first
_BYTES_OF_A_TASK = 1 << 28  # of logits, which it holds twice, and which are one object in Ray's store

# Some rows of a dataset: its name, the first, and the one behind the last.
Rows = tuple[str, int, int]


def rows_of_split(data_sets: DataSets, split: str) -> list[Rows]:
    """Return a split's rows as they are read: some at once, cut at the same places whoever predicts them."""
    return [
        (name, start, min(start + _ROWS_IN_MEMORY, manifest.rows_used))
        for name, manifest in data_sets.of_split(split).manifests.items()
        for start in range(0, manifest.rows_used, _ROWS_IN_MEMORY)
    ]


def predict_runs(
    case: Case,
    runs: Sequence[Run],
    data_sets: DataSets,
    experiment: str,
    split: str,
    device: str | torch.device = "cpu",
) -> dict[Run, dict[str, Tensor]]:
    """Predict a split's rows with some runs, here; logits by run and task, float32, (rows, outputs)."""
    rows = rows_of_split(data_sets, split)
    return {run: predict_rows(case, run, data_sets, experiment, split, rows, device) for run in runs}


def predict_split(
    case: Case, runs: Sequence[Run], data_sets: DataSets, experiment: str, split: str
) -> dict[Run, Mapping[str, Tensor]]:
    """Predict a split with every run, spread over the cluster.

    A task takes a run, or some of the split's rows with it where there are fewer runs than room, or more logits than a
    task should hold. What a worker or node that dies was to predict, or had predicted, Ray has predicted again.

    Returns:
        by run and task, logits of all rows; they lie in Ray's object store, and on disk where that is full, and are
        taken from there when they are asked for.
    """
    need_ray()
    import ray

    asked = resources_of_a_task(case)
    device = "cuda" if asked["num_gpus"] else "cpu"
    widths = {name: task.width for name, task in tasks_of(case).items()}
    bytes_of_a_row = 4 * max(sum(widths[task] for task in run.tasks) for run in runs)
    parts = parts_of(rows_of_split(data_sets, split), bytes_of_a_row, len(runs), _room(asked))
    given = ray.put((case, data_sets))
    predict = ray.remote(_predict_part)
    waiting: dict[Any, int] = {}
    stored: dict[Run, dict[str, list[Any]]] = {run: {task: [] for task in run.tasks} for run in runs}
    rows = sum(stop - start for part in parts for _, start, stop in part)
    for run in runs:
        for part in parts:
            of_part = predict.options(num_returns=1 + len(run.tasks), scheduling_strategy="SPREAD", **asked)
            done, *logits = of_part.remote(given, run, experiment, split, part, device)
            waiting[done] = sum(stop - start for _, start, stop in part)
            for task, of_task in zip(run.tasks, logits, strict=True):
                stored[run][task].append(of_task)
    total = rows * len(runs)
    with bar("predict", total, "rows", waiting=a_processor()) as shown:
        while waiting:
            shown.show(total - sum(waiting.values()))
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0.2)
            for done in ready:
                ray.get(done)  # raises what the task has raised
                del waiting[done]
    return {
        run: OnDemand({task: partial(_taken, of_task, rows) for task, of_task in of_run.items()})
        for run, of_run in stored.items()
    }


def in_object_store(logits: Tensor) -> Callable[[], Tensor]:
    """Keep logits beside those of :func:`predict_split`; return what takes them from there."""
    import ray

    return partial(_taken, [ray.put(logits.numpy())], len(logits))


def resources_of_a_task(case: Case) -> dict[str, Any]:
    """Return what a task that predicts asks Ray for: a GPU where the case trains on one, and the cluster has any."""
    import ray

    on_gpu = case.training.device == "cuda" and ray.cluster_resources().get("GPU", 0) > 0
    return {"num_cpus": 1, "num_gpus": 1 if on_gpu else 0}


def _room(asked: Mapping[str, float]) -> int:
    """Return how many such tasks the cluster has room for at once."""
    import ray

    there = ray.cluster_resources()
    fit = [there.get(name, 0) / asked[key] for name, key in (("CPU", "num_cpus"), ("GPU", "num_gpus")) if asked[key]]
    return max(1, int(min(fit)))


def parts_of(rows: Sequence[Rows], bytes_of_a_row: int, runs: int, room: int) -> list[list[Rows]]:
    """Divide a split's rows over the tasks of a run.

    Args:
        rows: as :func:`rows_of_split` returns them.
        bytes_of_a_row: of logits.
        runs: how many runs there are.
        room: how many tasks run at once.
    """
    total = sum(stop - start for _, start, stop in rows)
    by_bytes, by_room = -(-total * bytes_of_a_row // _BYTES_OF_A_TASK), -(-room // runs)
    size = -(-len(rows) // max(by_bytes, min(by_room, total // _ROWS_WORTH_A_TASK), 1))
    return [list(rows[i : i + size]) for i in range(0, len(rows), size)]


def _predict_part(
    given: tuple[Case, DataSets], run: Run, experiment: str, split: str, rows: Sequence[Rows], device: str
) -> tuple[Any, ...]:
    """Return that it is done, and the logits of each of the run's tasks."""
    allow_tf32(given[0].training.precision != "float32")
    logits = predict_rows(given[0], run, given[1], experiment, split, rows, device)
    return (True, *(logits[task].numpy() for task in run.tasks))


def predict_rows(
    case: Case,
    run: Run,
    data_sets: DataSets,
    experiment: str,
    split: str,
    rows: Sequence[Rows],
    device: str | torch.device = "cpu",
) -> dict[str, Tensor]:
    """Predict some of a split's rows with a run, here; the rows of logits are in their order."""
    network: Any = trained_network(case.for_arm(run.arm), run, experiment).to(device)
    return predict_with(network, case, open_readers(case, data_sets, split), rows, device)


def trained_network(case: Case, run: Run, experiment: str) -> MultiTaskNetwork:
    """Return a run's network with the weights that it ended with, in evaluation mode.

    Args:
        case: as the run's arm has it.
        run: one that has ended.
        experiment: its folder.
    """
    network = rebuild_network(case, list(run.tasks))
    network.load_state_dict(read_weights(run.folder(experiment)))
    return network.eval()


def predict_with(
    network: Callable[[Tensor], Mapping[str, Tensor]],
    case: Case,
    readers: Mapping[str, Any],
    rows: Sequence[Rows],
    device: str | torch.device,
) -> dict[str, Tensor]:
    """Return what a network makes of rows, read as they are: nothing that augments a batch of training alters them."""

    def forward(inputs: Tensor) -> Mapping[str, Tensor]:
        return network(normalize(inputs, case.input))

    parts = [forward_in_batches(forward, inputs, device) for inputs in _inputs(readers, rows)]
    return {task: torch.cat([part[task] for part in parts]) for task in parts[0]}


def _inputs(readers: Mapping[str, Any], rows: Sequence[Rows]) -> Iterator[Tensor]:
    for name, start, stop in rows:
        yield torch.from_numpy(readers[name].gather(np.arange(start, stop)).inputs)


def _taken(parts: Sequence[Any], rows: int) -> Tensor:
    """Take logits out of the object store: one object is looked at where it lies, several are copied one by one."""
    import ray

    first = ray.get(parts[0])
    if len(parts) == 1:
        with warnings.catch_warnings():  # the store's memory is not to be written to, and nobody does
            warnings.filterwarnings("ignore", message=".*not writable")
            return torch.from_numpy(first)
    logits = np.empty((rows, first.shape[1]), first.dtype)
    start = 0
    for part in parts:
        of_part = first if part is parts[0] else ray.get(part)
        logits[start : start + len(of_part)] = of_part
        start += len(of_part)
    return torch.from_numpy(logits)
