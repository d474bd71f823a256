"""The test images that only one of two arms gets right: what a gain or a loss looks like."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from mtlcore import Task
from pipelines.base.errors import UserError
from pipelines.base.storage import join, open_ranges
from pipelines.batches.batch import open_readers
from pipelines.blocks.cache import DamagedBlockError
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.evaluate.predictions import PREDICTIONS
from pipelines.evaluate.results import Results
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.resume import begun_data_sets
from pipelines.report.page import compared_arm

_MOST = 12  # images a side
_HALF = 0.5

Key = tuple[str, str]  # a dataset and an id


@dataclass(frozen=True)
class Picture:
    """An image that one arm gets right in most seeds and the other in few.

    Attributes:
        id: the row's.
        truth: its class.
        wrong: what the other arm says most often.
        source: the image, as a data URI.
    """

    id: str
    truth: str
    wrong: str
    source: str


@dataclass(frozen=True)
class OnlyOne:
    """Test images of a task on which two arms differ.

    Attributes:
        task: the task.
        arm: the arm that is shown beside the baseline.
        baseline: the baseline.
        inputs: how many test inputs both have predicted.
        gained: how many the arm alone gets right, and some of them, those with the largest difference first.
        lost: the same of the baseline alone.
    """

    task: str
    arm: str
    baseline: str
    inputs: int
    gained: tuple[int, list[Picture]]
    lost: tuple[int, list[Picture]]


def only_one_right(case: Case, results: Results) -> list[OnlyOne]:
    """Return what one arm alone gets right, by task with classes; empty where inputs or predictions are not there."""
    arm, baseline = compared_arm(results), results.baseline
    tasks = [task for task in tasks_of(case).values() if task.encoding == "class" and task.name in results.tested]
    if arm == baseline or not tasks or not isinstance(case.input, PictureInput):
        return []
    try:
        kept = join(experiment_folder(case), PREDICTIONS)
        said = {task.name: [_said(kept, task, name) for name in (arm, baseline)] for task in tasks}
        readers = open_readers(case, begun_data_sets(case), "test")
    except (FileNotFoundError, UserError, DamagedBlockError):  # an experiment may have been moved without its blocks
        return []
    images = _Images({name: reader.ids for name, reader in readers.items()}, readers)
    found = []
    for task in tasks:
        of_arm, of_baseline = said[task.name]
        if of_arm and of_baseline:
            gained, lost = _alone(of_arm, of_baseline), _alone(of_baseline, of_arm)
            if gained or lost:
                found.append(
                    OnlyOne(
                        task.name,
                        arm,
                        baseline,
                        len(of_arm),
                        (len(gained), images.of(gained[:_MOST], of_baseline)),
                        (len(lost), images.of(lost[:_MOST], of_arm)),
                    )
                )
    return found


def _said(file: str, task: Task, arm: str) -> dict[Key, tuple[str, list[str]]]:
    """Return the truth of every input, and what the arm says of it, a word a seed."""
    wanted = ("data_set", "id", "truth", "prediction")
    with open_ranges(file) as kept:  # the probabilities, most of the file, are left where they are
        rows = pq.read_table(kept, columns=list(wanted), filters=[("arm", "==", arm), ("task", "==", task.name)])
    said: dict[Key, tuple[str, list[str]]] = {}
    for data_set, name, truth, prediction in zip(*(rows[column].to_pylist() for column in wanted), strict=True):
        said.setdefault((data_set, name), (truth, []))[1].append(prediction)
    return said


def _alone(right: Mapping[Key, tuple[str, list[str]]], other: Mapping[Key, tuple[str, list[str]]]) -> list[Key]:
    """Return the inputs that one arm gets right in more than half of its seeds and another in less than half."""
    gaps = {}
    for key, (truth, words) in right.items():
        if key in other:
            one, two = (of.count(truth) / len(of) for of in (words, other[key][1]))
            if one > _HALF > two:
                gaps[key] = one - two
    return sorted(gaps, key=lambda key: (-gaps[key], key))


class _Images:
    """Images of the test split by dataset and id."""

    def __init__(self, ids: Mapping[str, Sequence[str]], readers: Mapping[str, object]) -> None:
        self._rows = {(name, row): i for name, of in ids.items() for i, row in enumerate(of)}
        self._readers = readers

    def of(self, keys: Iterable[Key], wrong: Mapping[Key, tuple[str, list[str]]]) -> list[Picture]:
        """Return some, with what an arm says of them."""
        pictures = []
        for key in keys:
            if key not in self._rows:
                continue
            pixels = self._readers[key[0]].gather(np.array([self._rows[key]])).inputs[0]  # type: ignore[attr-defined]
            truth, words = wrong[key]
            most = Counter(word for word in words if word != truth).most_common(1)[0][0]
            pictures.append(Picture(key[1], truth, most, _data_uri(pixels)))
        return pictures


def _data_uri(pixels: np.ndarray) -> str:
    """Return an image, uint8 (channels, height, width), as PNG in a data URI."""
    image = Image.fromarray(np.ascontiguousarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)))
    image.thumbnail((128, 128))
    sink = io.BytesIO()
    image.save(sink, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(sink.getvalue()).decode()}"
