"""Relatedness counted from the training rows that are annotated for both tasks of an edge."""

from collections.abc import Mapping

import torch

from mtlcore import MISSING, Relatedness, count_annotations, relatedness_from_counts
from mtlcore.relatedness.relatedness import known_rows
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case, RelatednessEdge


def with_counted_tables(case: Case, readers: Mapping[str, BlockReader]) -> Case:
    """Return the case with a table on every edge: those that are ``counted`` from the readers' labels.

    Args:
        case: the case.
        readers: the TRAINING split's, by dataset.

    Raises:
        UserError: no input is annotated for both tasks of such an edge.
    """
    if all(edge.counted is None for edge in case.relatedness):
        return case
    edges = []
    for i, edge in enumerate(case.relatedness):
        if edge.counted is None:
            edges.append(edge)
            continue
        relatedness = counted_relatedness(case, edge, readers, f"relatedness.{i}.counted")
        base = (
            None
            if relatedness.base is None
            else dict(zip(relatedness.target.outputs, relatedness.base.tolist(), strict=True))
        )
        edges.append(edge.model_copy(update={"table": dict(known_rows(relatedness)), "base": base, "counted": None}))
    return case.model_copy(update={"relatedness": tuple(edges)})


def counted_relatedness(
    case: Case, edge: RelatednessEdge, readers: Mapping[str, BlockReader], key: str = "relatedness"
) -> Relatedness:
    """Count one edge, on top of its table if it has one; with support and intervals.

    Raises:
        UserError: no input is annotated for both tasks.
    """
    tasks, counted = tasks_of(case), edge.counted
    assert counted is not None
    A, B = tasks[edge.source], tasks[edge.target]
    counts, overlap = None, False
    for reader in readers.values():
        for labels in reader.label_parts([A.name, B.name]):
            y_A, y_B = torch.from_numpy(labels[A.name]), torch.from_numpy(labels[B.name])
            overlap = overlap or bool((_annotated(y_A) & _annotated(y_B)).any())
            counts_of_part = count_annotations(y_A, y_B, A, B)
            # Rows of every dataset count alike: an input that is annotated for both says the same wherever it lies.
            counts = counts_of_part if counts is None else counts + counts_of_part
    if counts is None or not overlap:
        raise UserError(
            f"{key}: no training input is annotated for both {edge.source} and {edge.target}; expected a 'table', a "
            "'file', or `kindred relate`, which needs no such inputs"
        )
    return relatedness_from_counts(
        counts,
        A,
        B,
        a=counted.a,
        b=counted.b,
        least_support=counted.least_support,
        prior=None if edge.table is None else relatedness_of(edge, tasks),
        strength=counted.strength,
    )


def _annotated(y: torch.Tensor) -> torch.Tensor:
    return (y != MISSING).reshape(len(y), -1).any(dim=1)


def check_counted(case: Case, data_sets: DataSets) -> None:
    """Refuse a case, before anything trains, where an edge has nothing to be counted from.

    Raises:
        UserError: names the edge.
    """
    if any(edge.counted is not None for edge in case.relatedness):
        with_counted_tables(case, open_readers(case, data_sets, "train"))
