"""Random sample images with their labels in words, for the contact sheet."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mtlcore import MISSING, Task
from pipelines.base.progress import bar
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.ingest.make_block import reason_of
from pipelines.inspection.rows import Rows

_MOST_UNKNOWN = 4  # labels told by name where they are not annotated; more are counted


@dataclass(frozen=True)
class Caption:
    """A task's labels of one input.

    Attributes:
        task: its name.
        holds: the class, or the labels that hold; empty for an input of which none holds, or none is known.
        unknown: what is not annotated, in words; empty where everything is.
    """

    task: str
    holds: tuple[str, ...]
    unknown: str


@dataclass(frozen=True)
class Sample:
    """A row: uint8 (channels, height, width), or why it cannot be read, and its labels."""

    id: str
    picture: np.ndarray | None
    problem: str | None
    captions: tuple[Caption, ...]


@dataclass(frozen=True)
class Samples:
    """Some rows of a dataset, of how many, and the tasks that it has no labels for."""

    data_set: str
    split: str
    rows: int
    unlabelled: tuple[str, ...]
    samples: tuple[Sample, ...]


def draw_samples(case: Case, opened: Mapping[str, Rows], pictures: int, seed: int) -> tuple[Samples, ...]:
    """Draw rows of every dataset at random and read their images.

    Args:
        case: the case.
        opened: its datasets.
        images: how many of each; all of a smaller one.
        seed: decides which; what is drawn from one dataset does not depend on the others.
    """
    tasks = tasks_of(case)
    chosen = {name: _chosen(name, len(rows), pictures, seed) for name, rows in opened.items()}
    drawn, done = [], 0
    with bar("read images", sum(len(drawn) for drawn in chosen.values()), "images") as shown:
        for name, rows in opened.items():
            samples = []
            shown.show(done, name)
            for row, image in zip(chosen[name].tolist(), rows.inputs(chosen[name]), strict=True):
                captions = tuple(_caption(tasks[task], labels[row]) for task, labels in rows.labels.items())
                problem = reason_of(image) if isinstance(image, Exception) else None
                samples.append(
                    Sample(rows.ids[row], None if isinstance(image, Exception) else image, problem, captions)
                )
                done += 1
                shown.show(done, name)
            unlabelled = tuple(task for task in tasks if task not in rows.labels)
            drawn.append(Samples(name, case.datasets[name].split, len(rows), unlabelled, tuple(samples)))
    return tuple(drawn)


def _chosen(name: str, rows: int, pictures: int, seed: int) -> np.ndarray:
    draw = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return np.sort(draw.choice(rows, min(pictures, rows), replace=False))


def _caption(task: Task, labels: np.ndarray) -> Caption:
    """Put an input's labels into words: a class's number, or (L,) of labels or numbers."""
    if task.encoding == "class":
        known = int(labels) != MISSING
        return Caption(task.name, (task.outputs[int(labels)],) if known else (), "" if known else "not annotated")
    if task.encoding == "numbers":
        known = ~np.isnan(labels)
        named = len(task.outputs) > 1
        told = [f"{name} {n:g}" if named else f"{n:g}" for name, n in zip(task.outputs, labels, strict=True) if n == n]
        missing = [name for name, there in zip(task.outputs, known, strict=True) if not there]
        return Caption(task.name, tuple(told), _in_words(missing, len(known)) if told else "not annotated")
    holds = tuple(label for label, value in zip(task.outputs, labels, strict=True) if value == 1)
    unknown = [label for label, value in zip(task.outputs, labels, strict=True) if value == MISSING]
    if len(unknown) == len(task.outputs):
        return Caption(task.name, (), "not annotated")
    return Caption(task.name, holds, _in_words(unknown, len(task.outputs)))


def _in_words(unknown: list[str], labels: int) -> str:
    if not unknown:
        return ""
    return "not annotated: " + (f"{len(unknown)} of {labels}" if len(unknown) > _MOST_UNKNOWN else ", ".join(unknown))
