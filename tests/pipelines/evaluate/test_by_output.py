"""Scores by class and label, and predictions.parquet, agree with the metrics that they are parts of."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from mtlcore import Multiclass, Multilabel, task_metrics
from pipelines.evaluate.by_output import scores_by_output
from pipelines.evaluate.calibrate import Fitted
from pipelines.evaluate.predictions import write_predictions
from pipelines.evaluate.task_test import TaskTest
from pipelines.experiment.run import Run

KIND, TRAITS = Multiclass("kind", ("a", "b", "c")), Multilabel("traits", ("x", "y"))


def made(task, n=40):
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(n, len(task.outputs), generator=generator)
    if task is KIND:
        return z, torch.randint(0, 3, (n,), generator=generator)
    return z, torch.randint(-1, 2, (n, 2), generator=generator)


@pytest.mark.parametrize("task", [KIND, TRAITS])
def test_the_mean_of_f1_by_output_is_macro_f1(task):
    z, labels = made(task)
    by_output = scores_by_output(task, [z, -z], labels)
    for seed, logits in enumerate((z, -z)):
        mean = np.mean([scores.f1[seed] for scores in by_output.values()])
        assert mean == pytest.approx(task_metrics(logits, labels, task)["macro_f1"], abs=1e-5)
    held = [scores.support for scores in by_output.values()]
    assert held == ([int((labels == i).sum()) for i in range(3)] if task is KIND else (labels == 1).sum(dim=0).tolist())


def test_a_labels_f1_at_its_threshold_decides_by_calibrated_probabilities():
    z, labels = made(TRAITS)
    found = scores_by_output(TRAITS, [z], labels, [Fitted(2.0, (1 / (1 + np.exp(-0.25)), 0.5))])
    shifted = z - torch.tensor([0.5, 0.0])
    assert found["x"].f1_at_threshold == scores_by_output(TRAITS, [shifted], labels)["x"].f1
    assert found["y"].f1_at_threshold == found["y"].f1


def test_predictions_are_kept_with_their_truth(tmp_path):
    tests, rows = {}, (["test"] * 50, [f"row-{i}" for i in range(50)])
    for task in (KIND, TRAITS):
        z, labels = made(task)
        tests[task.name] = TaskTest(torch.arange(5, 45), labels, {Run("naive", "shared", ("kind", "traits"), 7): z})
    file = write_predictions(str(tmp_path), {"kind": KIND, "traits": TRAITS}, tests, rows, {})
    kept = pq.read_table(file).to_pandas()
    of_kind, of_traits = kept[kept.task == "kind"], kept[kept.task == "traits"]
    assert of_kind.id.tolist() == [f"row-{i}" for i in range(5, 45)]
    accuracy = (of_kind.truth == of_kind.prediction).mean()
    assert accuracy == pytest.approx(task_metrics(*made(KIND), KIND)["accuracy"])
    z, labels = made(TRAITS)
    np.testing.assert_allclose(np.stack(of_traits.probabilities), z.sigmoid().numpy(), rtol=1e-5)
    truths = [[-1 if cell is None or cell != cell else int(cell) for cell in row] for row in of_traits.truths]
    assert truths == labels.tolist()
