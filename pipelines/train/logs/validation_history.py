"""The validation history, and what follows from it: the best step, and early stopping."""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mtlcore import LOWER_IS_BETTER
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.experiment.run import Run


@dataclass
class ValidationHistory:
    """One row per validation.

    Attributes:
        columns: ``<task>.<metric>``.
        steps: the number of steps that were done before each.
        rows: the metrics, by validation and column; NaN where one is not defined.
    """

    columns: tuple[str, ...] = ()
    steps: list[int] = field(default_factory=list)
    rows: list[list[float]] = field(default_factory=list)

    def add(self, step: int, scores: Mapping[str, float]) -> None:
        """Note what a validation came to."""
        self.columns = tuple(scores)
        self.steps.append(step)
        self.rows.append(list(scores.values()))

    def tensor(self) -> Tensor:
        """Return all of it, float64, shape (validations, 1 + columns): the step, then the metrics."""
        rows = [[float(step), *row] for step, row in zip(self.steps, self.rows, strict=True)]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 1 + len(self.columns))

    @classmethod
    def from_tensor(cls, columns: Sequence[str], values: Tensor) -> "ValidationHistory":
        """Return what :meth:`tensor` is made of."""
        return cls(tuple(columns), values[:, 0].long().tolist(), values[:, 1:].tolist())

    def parquet(self) -> bytes:
        """Return a Parquet file: ``step``, and one column per metric."""
        table = {"step": pa.array(self.steps, pa.int64())}
        for i, column in enumerate(self.columns):
            table[column] = pa.array([row[i] for row in self.rows], pa.float64())
        file = io.BytesIO()
        pq.write_table(pa.table(table), file)
        return file.getvalue()

    def scores(self, columns: Sequence[str], errors: Collection[str] = ()) -> list[float]:
        """Return every validation's score, higher is better: the mean of some columns, as far as they are defined.

        ``errors``: columns of which lower is better, beside those of built-in metrics.
        """
        indices = [self.columns.index(column) for column in columns if column in self.columns]
        return [_mean([_signed(self.columns[i], row[i], errors) for i in indices]) for row in self.rows]


def scored_columns(case: Case, run: Run) -> tuple[str, ...]:
    """Return the columns whose mean chooses a run's best weights, as ``training.best`` names them.

    A network that does not serve the task that is named is judged as if none were: by the mean of what it serves.
    """
    tasks = {name: task for name, task in tasks_of(case).items() if name in run.tasks}
    metrics = metrics_of(case)
    named, _, metric = (case.training.best.metric if case.training.best else "mean").partition(".")
    if named in tasks:
        return (f"{named}.{metric or metrics[named].primary}",)
    for_use = [name for name, task in tasks.items() if not task.auxiliary] or list(tasks)
    if len(for_use) == 1:
        return (f"{for_use[0]}.{metrics[for_use[0]].primary}",)
    # An error in years would outweigh every accuracy: what has a unit is stood for by what has none.
    return tuple(f"{name}.{metrics[name].unitless}" for name in for_use)


def error_columns(case: Case) -> frozenset[str]:
    """Return the columns of which lower is better."""
    return frozenset(
        f"{name}.{error}" for name, of_task in metrics_of(case).items() for error in of_task.lower_is_better
    )


def chosen(history: ValidationHistory, case: Case, run: Run) -> dict[str, object] | None:
    """Return, for run.json, which validation's weights are the run's; None where the last weights are."""
    if case.training.best is None:
        return None
    columns = scored_columns(case, run)
    scores = history.scores(columns, error_columns(case))
    best = best_of(scores)
    return None if best is None else {"step": history.steps[best], "score": scores[best], "mean_of": list(columns)}


def best_of(scores: Sequence[float]) -> int | None:
    """Return which score is the highest, the first of equal ones; None where none is defined."""
    defined = [i for i, score in enumerate(scores) if not math.isnan(score)]
    return max(defined, key=lambda i: (scores[i], -i), default=None)


def without_gain(scores: Sequence[float], min_delta: float) -> int:
    """Return how many of the last scores did not exceed the best before them by more than ``min_delta``."""
    best, waited = -math.inf, 0
    for score in scores:
        if score > best + min_delta:
            best, waited = score, 0
        else:
            waited += 1
    return waited


def _signed(column: str, value: float, errors: Collection[str]) -> float:
    return -value if column in errors or column.partition(".")[2] in LOWER_IS_BETTER else value


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan
