"""Weights and scales that are counted from the manifests of the training datasets, all of them together."""

import numpy as np
import pytest

from pipelines.batches.measured_labels import with_measured_labels
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.manifest import LabelCounts
from pipelines.case.build import tasks_of
from pipelines.case.data import MulticlassTask, MultilabelTask, RegressionTask
from pipelines.case.load import load_case


class _Manifest:
    """What is read of a manifest here."""

    def __init__(self, labels, split="train"):
        self.labels, self.split = labels, split


def _sets(manifests):
    return DataSets(dict.fromkeys(manifests, "nowhere"), manifests)


def measured(task, *counts):
    case = load_case("digits").model_copy(update={"tasks": {"t": task}})
    manifests = {str(i): _Manifest({"t": of}) for i, of in enumerate(counts)}
    unseen = LabelCounts(
        annotated=9, histogram={"a": 9, "p": 9}, known={"p": 9, "x": 9}, mean={"x": 99}, spread={"x": 9}
    )
    return tasks_of(with_measured_labels(case, _sets({**manifests, "test": _Manifest({"t": unseen}, "test")})))["t"]


def counted(**histogram):
    return LabelCounts(annotated=sum(histogram.values()), histogram=histogram)


def test_balanced_weights_give_every_class_with_rows_the_same_total():
    task = MulticlassTask(kind="multiclass", classes=("a", "b", "c"), class_weights="balanced")
    found = measured(task, counted(a=30, b=5, c=0), counted(a=10, b=5, c=0)).loss.class_weights
    assert found[0] * 40 == pytest.approx(found[1] * 10)
    assert found[2] == 1
    assert (found[0] * 40 + found[1] * 10) / 50 == pytest.approx(1)


def test_effective_weights_are_those_of_the_paper():
    task = MulticlassTask(kind="multiclass", classes=("a", "b"), class_weights="effective", effective_beta=0.9)
    a, b = measured(task, counted(a=40, b=10)).loss.class_weights
    assert a / b == pytest.approx((1 - 0.9**10) / (1 - 0.9**40))
    assert a + b == pytest.approx(2)


def test_numbers_by_class_and_a_positive_weight_are_taken_as_they_are():
    assert measured(
        MulticlassTask(kind="multiclass", classes=("a", "b"), class_weights={"b": 4})
    ).loss.class_weights == (1, 4)
    assert measured(MultilabelTask(kind="multilabel", labels=("p", "q"), pos_weight=3)).loss.positive_weights == (3, 3)


def test_a_balanced_positive_weight_is_not_held_over_held():
    task = MultilabelTask(kind="multilabel", labels=("p", "q"), pos_weight="balanced")
    one = LabelCounts(annotated=20, histogram={"p": 4, "q": 0}, known={"p": 20, "q": 7})
    assert measured(task, one).loss.positive_weights == (4, 1)


def test_mean_and_spread_are_those_of_all_rows_together():
    rows = [np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0])]
    counts = [
        LabelCounts(annotated=len(x), histogram={}, known={"x": len(x)}, mean={"x": x.mean()}, spread={"x": x.std()})
        for x in rows
    ]
    found = measured(RegressionTask(kind="regression", outputs=("x",)), *counts)
    assert found.mean == pytest.approx([np.concatenate(rows).mean()])
    assert found.spread == pytest.approx([np.concatenate(rows).std()])
    assert measured(
        RegressionTask(kind="regression", outputs=("x",)), counts[0].model_copy(update={"spread": {"x": 0.0}})
    ).spread == (1,)
