"""Score a trial's trained runs on the validation split, where they were trained: scores and counts, no logits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from mtlcore import is_annotated
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.batches.batch import open_readers
from pipelines.batches.normalize import normalize
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import build_network
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.forward import forward_in_batches
from pipelines.experiment.run import Run, read_weights
from pipelines.search.objective import Objective

_ROWS_IN_MEMORY = 1024


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
    readers = open_readers(case, data_sets, "validation")
    scores: dict[str, float] = {}
    counts: dict[str, np.ndarray] = {}
    rows: dict[str, np.ndarray] = {}
    metrics: dict[str, float] = {}
    for run in runs:
        network = build_network(case.for_arm(run.arm), list(run.tasks), run.seed)
        network.load_state_dict(read_weights(run.folder(folder)))
        network.to(device).eval()

        def forward(inputs: Tensor, network: torch.nn.Module = network) -> dict[str, Tensor]:
            return network(normalize(inputs, case.input).to(device))  # type: ignore[no-any-return]

        parts = [
            forward_in_batches(forward, torch.from_numpy(reader.gather(np.arange(first, last)).inputs))
            for reader in readers.values()
            for first in range(0, len(reader), _ROWS_IN_MEMORY)
            for last in (min(first + _ROWS_IN_MEMORY, len(reader)),)
        ]
        for name in run.tasks:
            labels = torch.from_numpy(np.concatenate([reader.labels(name) for reader in readers.values()]))
            annotated = is_annotated(labels).reshape(len(labels), -1).any(dim=1)
            if not annotated.any():
                continue  # an auxiliary task
            logits, labels = torch.cat([part[name] for part in parts])[annotated], labels[annotated]
            of_task = metrics_of(case)[name].scores(logits, labels)
            metrics |= {f"{name}.{metric}": value for metric, value in of_task.items()}
            if (measure := objective.measures.get(name)) is None:
                continue
            scores[name] = measure.sign * of_task[measure.name]
            if measure.metric is not None:
                counts[name] = measure.metric.contributions(logits, labels, measure.task)
                rows[name] = annotated.nonzero().flatten().numpy()
    return Counts(scores, counts, rows), metrics


def write_counts(folder: str, seed: int, counted: Counts) -> None:
    """Write counts, as bytes where they are small whole numbers."""
    arrays = {f"counts.{task}": _small(of) for task, of in counted.counts.items()}
    arrays |= {f"rows.{task}": of.astype(np.int64) for task, of in counted.rows.items()}
    about = {"scores": json.dumps(dict(counted.scores))}
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
    arrays = safetensors.numpy.load(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    scores = json.loads(header["__metadata__"]["scores"])
    by_kind: dict[str, dict[str, np.ndarray]] = {"counts": {}, "rows": {}}
    for name, array in arrays.items():
        kind, _, task = name.partition(".")
        by_kind[kind][task] = array.astype(np.float64) if kind == "counts" else array
    return Counts(scores, by_kind["counts"], by_kind["rows"])
