"""Estimate the relatedness of tasks with disjoint datasets: each task's network labels the other's data."""

import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from mtlcore import (
    HeldOut,
    Multiclass,
    Relatedness,
    Task,
    is_annotated,
    relatedness_from_predictions,
    save_relatedness,
)
from mtlcore.relatedness.relatedness import known_rows
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.progress import bar
from pipelines.base.storage import join, write_whole
from pipelines.batches.batch import open_readers
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.evaluate.on_demand import Chosen, OnDemand
from pipelines.evaluate.predict_split import predict_split
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import Run, is_done, list_runs
from pipelines.train.launch import fit_runs

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class EstimatedEdge:
    """An edge that was estimated, and where its table and its heat map lie."""

    relatedness: Relatedness
    file: str
    figure: str

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        return {"file": self.file, "figure": self.figure, **as_plain(self.relatedness)}

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return self.relatedness._repr_html_() + f"<p>{escape(self.relatedness.provenance or '')}</p>"


@dataclass(frozen=True)
class _Predicted:
    """A split's labels by task, and by task and seed what its own network predicts, over all rows of the split."""

    y: dict[str, Tensor]
    logits: Mapping[str, Sequence[Tensor]]

    def p(self, task: Task, rows: Tensor) -> Tensor:
        """Return the probabilities of some rows, the mean over the seeds, float64; ``rows``: bool, (rows,)."""
        return torch.stack([_probabilities(z, task, rows) for z in self.logits[task.name]]).mean(dim=0)


def edges_asked_for(case: Case, edges: Sequence[str]) -> list[tuple[str, str]]:
    """Return the edges to estimate: those named as ``from:to``, or the case's.

    Raises:
        UserError: one names no two tasks, there is none, or the baseline does not train one network per task.
    """
    ends = []
    for edge in edges:
        source, _, target = edge.partition(":")
        for name in (source, target):
            if name not in case.tasks:
                raise UserError(f"--edge {edge}: found {name!r}, no such task{did_you_mean(name, case.tasks)}")
        if source == target:
            raise UserError(f"--edge {edge}: found the same task twice; expected FROM:TO of two tasks")
        ends.append((source, target))
    ends = ends or [(edge.source, edge.target) for edge in case.relatedness]
    if not ends:
        raise UserError("relatedness: found no edge to estimate; expected one, or --edge FROM:TO")
    baseline = case.evaluation.baseline
    if case.arms[baseline].networks != "one_per_task":
        raise UserError(
            f"arms.{baseline}.networks: found 'shared'; expected one_per_task, whose networks `kindred relate` uses"
        )
    return ends


def relate(case: Case, data_sets: DataSets, edges: Sequence[tuple[str, str]]) -> list[EstimatedEdge]:
    """Train the baseline's single-task networks that are not there, predict with them, estimate every edge.

    A network predicts training inputs that are annotated for the other task and not for its own. Its errors are
    learned from the validation split, where that is annotated for its task; without, counts stay as they are, which
    the provenance says. The test split is never opened. Probabilities are averaged over the seeds.

    Raises:
        UserError: nothing is there to predict.
    """
    needed = {name for edge in edges for name in edge}
    baseline = case.arms[case.evaluation.baseline].model_copy(update={"tasks": tuple(case.tasks)})
    baseline_case = case.model_copy(update={"arms": {case.evaluation.baseline: baseline}, "relatedness": ()})
    runs, experiment = [run for run in list_runs(baseline_case) if run.network in needed], experiment_folder(case)
    waiting = [run for run in runs if not is_done(run, experiment, data_sets)]
    if waiting:
        with bar("train", len(waiting) * case.training.steps, "steps") as shown:
            fit_runs(baseline_case, waiting, data_sets, experiment, shown)
    splits = [split for split in ("train", "validation") if case.of_split(split)]
    predicted = {split: _predicted(baseline_case, runs, data_sets, experiment, split) for split in splits}
    tasks, estimates = tasks_of(case), []
    for source, target in edges:
        estimated = _estimate(tasks[source], tasks[target], predicted)
        estimates.append(_written(estimated, join(experiment, "relate", f"{source}-to-{target}")))
    return estimates


def _written(estimated: Relatedness, stem: str) -> EstimatedEdge:
    """Write an edge as YAML, as tensors and as a heat map."""
    table, figure, image = f"{stem}.yaml", f"{stem}.png", io.BytesIO()
    write_whole(table, yaml.safe_dump(as_plain(estimated), sort_keys=False, allow_unicode=True))
    with tempfile.TemporaryDirectory() as scratch:
        save_relatedness(estimated, Path(scratch) / "relatedness.safetensors")
        write_whole(f"{stem}.safetensors", (Path(scratch) / "relatedness.safetensors").read_bytes())
    estimated.plot().savefig(image, format="png", dpi=120)
    write_whole(figure, image.getvalue())
    return EstimatedEdge(estimated, table, figure)


def as_plain(relatedness: Relatedness) -> dict[str, Any]:
    """Return R, support and interval as a relatedness file holds them: rows by name, null where unknown."""
    assert relatedness.support is not None
    assert relatedness.interval is not None
    names = relatedness.target.outputs

    def rows(values: Tensor, digits: int) -> dict[str, Any]:
        table = torch.round(values.double(), decimals=digits)
        return {
            name: {label: None if np.isnan(cell).any() else cell for label, cell in zip(names, row, strict=True)}
            for name, row in zip(relatedness.source.outputs, table.tolist(), strict=True)
        }

    return {
        "provenance": relatedness.provenance,
        "table": dict(known_rows(relatedness)),
        "support": rows(relatedness.support, 1),
        "interval": rows(relatedness.interval, 4),
    }


def _predicted(case: Case, runs: Sequence[Run], data_sets: DataSets, experiment: str, split: str) -> _Predicted:
    of_runs = predict_split(case, runs, data_sets, experiment, split)
    readers = open_readers(case, data_sets, split)
    labels = {
        name: torch.from_numpy(np.concatenate([reader.labels(name) for reader in readers.values()]))
        for name in case.tasks
    }
    logits = {}
    for name in dict.fromkeys(run.network for run in runs):
        of_task = {run: partial(of_runs[run].__getitem__, name) for run in runs if run.network == name}
        logits[name] = Chosen(OnDemand(of_task), list(of_task))
    return _Predicted(labels, logits)


def _probabilities(logits: Tensor, task: Task, rows: Tensor) -> Tensor:
    of_parts = []
    for z, chosen in zip(torch.split(logits, _ROWS_AT_ONCE), torch.split(rows, _ROWS_AT_ONCE), strict=True):
        p = torch.softmax(z.double(), dim=1) if isinstance(task, Multiclass) else torch.sigmoid(z.double())
        of_parts.append(p[chosen])
    return torch.cat(of_parts)


def _estimate(A: Task, B: Task, predicted: Mapping[str, _Predicted]) -> Relatedness:
    train = predicted["train"]
    annotated = {task.name: _annotated(train.y[task.name]) for task in (A, B)}
    only_A, only_B = annotated[A.name] & ~annotated[B.name], annotated[B.name] & ~annotated[A.name]
    if not bool(only_A.any() or only_B.any()):
        raise UserError(
            f"{A.name}:{B.name}: every training input is annotated for both or for neither; "
            "expected 'counted: {}' on the edge"
        )
    evidence: dict[str, Any] = {}
    if bool(only_B.any()):
        evidence |= {"p_A": train.p(A, only_B), "y_B": train.y[B.name][only_B]}
        evidence["held_out_A"] = _held_out(A, predicted)
    if bool(only_A.any()):
        evidence |= {"y_A": train.y[A.name][only_A], "p_B": train.p(B, only_A)}
        evidence["held_out_B"] = _held_out(B, predicted)
    return relatedness_from_predictions(A, B, **evidence)


def _held_out(task: Task, predicted: Mapping[str, _Predicted]) -> HeldOut | None:
    if "validation" not in predicted:
        return None
    validation = predicted["validation"]
    annotated = _annotated(validation.y[task.name])
    return HeldOut(validation.p(task, annotated), validation.y[task.name][annotated]) if bool(annotated.any()) else None


def _annotated(y: Tensor) -> Tensor:
    return is_annotated(y).reshape(len(y), -1).any(dim=1)
