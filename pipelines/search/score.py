"""Score a trial's trained runs on the validation split, where they were trained: scores and counts, no logits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import torch

from pipelines.base.plain_json import parse_json
from pipelines.base.progress import note
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.evaluate import split_tests
from pipelines.evaluate.predict_split import predict_runs
from pipelines.experiment.run import Run
from pipelines.search.objective import Objective

_FORM = "2"  # of what metrics count: a sum of one form is not a sum of another


@dataclass(frozen=True)
class Counts:
    """What one seed of a trial was scored by: enough for intervals, and as many numbers as a metric sums.

    Attributes:
        scores: by task, higher is better.
        counts: by task, what each input adds to the metric, (N_t, K); of a metric that is a sum over inputs.
        rows: by task, which input of the split each is, int64, (N_t,).
    """

    scores: Mapping[str, float]
    counts: Mapping[str, np.ndarray]
    rows: Mapping[str, np.ndarray]


def score_runs(
    case: Case, runs: Sequence[Run], folder: str, data_sets: DataSets, objective: Objective, device: torch.device
) -> tuple[Counts, dict[str, float]]:
    """Predict the validation split with runs that together serve the tasks, and score it.

    Args:
        case: the trial's.
        runs: of one seed.
        folder: where they lie.
        data_sets: the datasets, ingested.
        objective: whose metrics are counted.
        device: where to compute.

    Returns:
        the counts, and every metric of every task by ``<task>.<metric>``.
    """
    tests = split_tests(
        case, predict_runs(case, runs, data_sets, folder, "validation", device), data_sets, "validation"
    )
    metrics_by_task = metrics_of(case)
    scores: dict[str, float] = {}
    counts: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {}
    for name, test in tests.items():
        for logits in test.logits.values():  # of the one run that serves the task, if one does
            of_task = metrics_by_task[name].scores(logits, test.labels)
            metrics |= {f"{name}.{metric}": value for metric, value in of_task.items()}
            if (measure := objective.measures.get(name)) is None:
                continue
            scores[name] = measure.sign * of_task[measure.name]
            if measure.metric is not None:
                counts[name] = measure.metric.contributions(logits, test.labels, measure.task)
                rows[name] = test.rows.numpy()
    return Counts(scores, counts, rows), metrics


def write_counts(folder: str, seed: int, counted: Counts) -> None:
    """Write counts, as bytes where they are small whole numbers."""
    arrays = {f"counts.{task}": _small(of) for task, of in counted.counts.items()}
    arrays |= {f"rows.{task}": of.astype(np.int64) for task, of in counted.rows.items()}
    about = {"scores": json.dumps(dict(counted.scores)), "form": _FORM}
    write_whole(join(folder, f"counts-{seed}.safetensors"), safetensors.numpy.save(arrays, metadata=about))


def _small(counts: np.ndarray) -> np.ndarray:
    whole = counts.size and np.isfinite(counts).all() and (counts == np.round(counts)).all()
    if whole and counts.min() >= 0 and counts.max() <= 255:
        return np.ascontiguousarray(counts.astype(np.uint8))
    return np.ascontiguousarray(counts.astype(np.float64))


def read_counts(folder: str, seed: int) -> Counts | None:
    """Return the counts of a seed; None where it has not been scored."""
    try:
        content = read_bytes(join(folder, f"counts-{seed}.safetensors"))
    except FileNotFoundError:
        return None
    by_kind: dict[str, dict[str, np.ndarray]] = {"counts": {}, "rows": {}}
    try:
        arrays = safetensors.numpy.load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        scores = parse_json(header["__metadata__"]["scores"])
        if header["__metadata__"].get("form") != _FORM:
            raise ValueError("written by an earlier version")
        for name, array in arrays.items():
            kind, _, task = name.partition(".")
            by_kind[kind][task] = array.astype(np.float64) if kind == "counts" else array
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        note(f"{folder}: counts-{seed}.safetensors cannot be read ({error}); the seed is compared with nothing")
        return None
    return Counts(scores, by_kind["counts"], by_kind["rows"])
