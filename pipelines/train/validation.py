"""Validation during training: fixed rows of the validation split, scored by all workers."""

import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtlcore import is_annotated
from pipelines.batches.normalize import normalize
from pipelines.batches.permutation import permute_indices
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.experiment.run import Run
from pipelines.train.checkpoints.file import Event
from pipelines.train.eval_mode import evaluating
from pipelines.train.logs.validation_history import best_of, error_columns, scored_columns, without_gain
from pipelines.train.sharding import is_sharded, share_buffers
from pipelines.train.state import TrainingState
from pipelines.train.worker import Worker

_ROWS_AT_ONCE = 512  # bounds the memory of a pass; logits are small, and are kept of all rows


class Validation:
    """Scores a run's network on fixed rows, keeps the best weights, and says when to stop.

    The rows are those of the datasets labelled for the run's tasks among what :func:`validation_rows` draws, so that
    every arm and seed is scored on the same ones.

    Args:
        case: the case.
        run: the run.
        readers: the validation split's, by dataset; none where the case does not validate as it trains.
        worker: this worker; all of them score a part of the rows.
        asked: told the step and the metrics by the first worker; says whether to end here, whatever the patience.
    """

    def __init__(
        self,
        case: Case,
        run: Run,
        readers: Mapping[str, BlockReader],
        worker: Worker,
        asked: Callable[[int, Mapping[str, float]], bool] | None = None,
    ) -> None:
        self._case, self._readers, self._worker, self._asked = case, readers, worker, asked
        self._settings, self._training = case.training.validation, case.training
        self._metrics = metrics_of(case)
        self._tasks = [tasks_of(case)[name] for name in run.tasks]
        self._scored, self._errors = scored_columns(case, run), error_columns(case)
        sizes = {name: len(reader) for name, reader in readers.items()}
        self._rows = {
            name: rows
            for name, rows in validation_rows(sizes, self._settings.rows).items()
            if set(case.datasets[name].labels) & set(run.tasks)
        }
        self._labels = {
            task.name: torch.from_numpy(
                np.concatenate([self._readers[name].labels(task.name)[rows] for name, rows in self._rows.items()])
            )
            for task in (self._tasks if self._rows else ())
        }

    def is_due(self, step: int) -> bool:
        """Say whether to validate after ``step`` steps."""
        every = self._settings.every_steps
        return every is not None and bool(self._rows) and (step % every == 0 or step == self._training.steps)

    def run_if_due(self, state: TrainingState) -> bool:
        """Score the network, keep it where it is the best yet, and return whether to stop here; all workers must call.

        What is decided follows from the scores alone, which all workers share: it is the same after a resume.
        """
        begun = time.perf_counter()
        sharded = is_sharded(state.network)
        if sharded:
            share_buffers(state.network)
        found = self._scores(state.evaluated)
        state.validation.add(state.step, found)
        scores = state.validation.scores(self._scored, self._errors)
        if self._training.best is not None and best_of(scores) == len(scores) - 1:
            first = self._worker.rank == 0
            weights = state.weights() if first or sharded else {}
            if first:
                state.best = weights
        state.validation_s += time.perf_counter() - begun
        if self._asked and self._ends_here(state, found):
            return True
        stopping = self._training.early_stopping
        # Where no score is defined yet, as of a task without positives, no patience runs out.
        if stopping is None or state.step == self._training.steps or best_of(scores) is None:
            return False
        if without_gain(scores, stopping.min_delta) < stopping.patience:
            return False
        least = f" of more than {stopping.min_delta:g}" if stopping.min_delta else ""
        description = f"stopped early: no gain{least} in the last {stopping.patience} validations"
        state.events.append(Event(step=state.step, what=description))
        return True

    def _ends_here(self, state: TrainingState, scores: Mapping[str, float]) -> bool:
        """Ask whoever compares this run with others; one worker asks for all. The last step is not cut short."""
        assert self._asked
        (ends,) = self._worker.agree(self._worker.rank == 0 and self._asked(state.step, scores))
        if not ends or state.step == self._training.steps:
            return False
        state.events.append(Event(step=state.step, what="ended early: it falls behind others of its search"))
        return True

    def _scores(self, network: nn.Module) -> dict[str, float]:
        """Return every metric of every task by ``<task>.<metric>``, the same on all workers."""
        # One worker scores what all have predicted: a metric such as average precision is no sum over workers.
        logits = self._gathered(self._predicted(network))
        scores: dict[str, float] = {}
        if self._worker.rank == 0:
            first = 0
            for task in self._tasks:
                of_task = logits[:, first : first + task.width]
                first += task.width
                labels = self._labels[task.name]
                annotated = is_annotated(labels).reshape(len(labels), -1).any(dim=1)
                for metric, value in self._metrics[task.name].scores(of_task[annotated], labels[annotated]).items():
                    scores[f"{task.name}.{metric}"] = value
        return self._shared(scores)

    @torch.no_grad()
    def _predicted(self, network: nn.Module) -> Tensor:
        """Return the tasks' logits of this worker's rows side by side, float32, on the worker's device."""
        logits_by_pass = [torch.empty(0, sum(task.width for task in self._tasks), device=self._worker.device)]
        with evaluating(network):
            for name, rows in self._rows.items():
                worker_rows = rows[self._worker.rank :: self._worker.world_size]
                # As many passes on every worker, the last of some without a row: sharded ones make them together.
                for start in range(0, -(-len(rows) // self._worker.world_size), _ROWS_AT_ONCE):
                    inputs = self._readers[name].gather(worker_rows[start : start + _ROWS_AT_ONCE]).inputs
                    logits = network(normalize(torch.from_numpy(inputs), self._case.input).to(self._worker.device))
                    logits_by_pass.append(torch.cat([logits[task.name].float() for task in self._tasks], dim=1))
        return torch.cat(logits_by_pass)

    def _gathered(self, logits: Tensor) -> Tensor:
        """Return all workers' logits in the order of the rows, on the first worker's CPU."""
        world_size = self._worker.world_size
        if world_size == 1:
            return logits.cpu()
        # Every worker sends as many rows; the last of some are empty.
        most = sum(-(-len(rows) // world_size) for rows in self._rows.values())
        sent = logits.new_zeros(most, logits.shape[1])
        sent[: len(logits)] = logits
        shards = [torch.empty_like(sent) for _ in range(world_size)] if self._worker.rank == 0 else None
        dist.gather(sent, shards, dst=0)
        if shards is None:
            return logits.cpu()
        places: list[list[np.ndarray]] = [[] for _ in range(world_size)]
        first = 0
        for rows in self._rows.values():
            for rank in range(world_size):
                places[rank].append(np.arange(first, first + len(rows))[rank::world_size])
            first += len(rows)
        gathered = torch.empty(first, logits.shape[1])
        for shard, of_worker in zip(shards, places, strict=True):
            positions = np.concatenate(of_worker)
            gathered[torch.from_numpy(positions)] = shard[: len(positions)].cpu()
        return gathered

    def _shared(self, scores: Mapping[str, float]) -> dict[str, float]:
        """Return the first worker's scores, on all."""
        if self._worker.world_size == 1:
            return dict(scores)
        shared: list[Mapping[str, float]] = [scores]
        dist.broadcast_object_list(shared, src=0, device=self._worker.device)
        return dict(shared[0])


def validation_rows(sizes: Mapping[str, int], rows: int) -> dict[str, np.ndarray]:
    """Choose the rows that runs are validated on: as many of each dataset, all of those that have no more.

    Args:
        sizes: rows by dataset.
        rows: how many in all, at the most.

    Returns:
        by dataset, in their order, the rows' numbers, int64, rising; they depend on the arguments alone.
    """
    counts, remaining = {}, rows
    # The smallest first: what they cannot use of their share goes to the larger ones.
    for i, name in enumerate(sorted(sizes, key=lambda name: (sizes[name], name))):
        counts[name] = min(sizes[name], remaining // (len(sizes) - i))
        remaining -= counts[name]
    return {
        name: np.sort(permute_indices(np.arange(counts[name]), size, (0,)))
        if counts[name]
        else np.empty(0, dtype=np.int64)
        for name, size in sizes.items()
    }
