"""Ten thousand classes of which nobody writes a list go from the sources to the report, an export and predictions."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipelines import commands
from pipelines.experiment.layout import experiment_folder
from pipelines.ingest.ingest import ingest
from pipelines.use.model import load_model
from tests.pipelines.many_classes import many_classes_case
from tests.pipelines.one_worker import train_here

CLASSES = 10_000


def test_ten_thousand_classes_of_the_data_go_from_the_sources_to_predictions(ray_local, tmp_path):
    arms = {"single-task": {"networks": "one_per_task"}, "naive": {"matching": "none"}}
    training = {"steps": 1, "batch_size": 8, "seeds": [0]}
    case = many_classes_case(
        tmp_path, classes=CLASSES, train=CLASSES, validation=20, test=30, arms=arms, training=training
    )
    names = [f"person {i:05d}" for i in range(CLASSES)]
    assert list(case.tasks["person"].classes) == names
    ingest(case)
    train_here(case)
    results = commands.evaluate(case).results
    confused = results.confusion.counts["naive"]
    assert sum(n for *_, n in confused) == 30
    page, table = (Path(file) for file in commands.report(case, ["html", "md"]))
    assert "person" in table.read_text()
    assert "<h2" in page.read_text()
    sizes = {file: (Path(experiment_folder(case)) / file).stat().st_size for file in ("results.json", page.name)}
    assert all(size < 20e6 for size in sizes.values()), sizes
    folder = commands.export(case, "naive", None, None, str(tmp_path / "export"))
    x = np.load(tmp_path / "test.npz")["x"]
    said = load_model(folder).predict(x)["person"]
    kept = pq.read_table(
        Path(experiment_folder(case)) / "predictions.parquet",
        columns=["prediction"],
        filters=[("arm", "==", "naive"), ("task", "==", "person")],
    )
    assert sorted(said) == sorted(kept["prediction"].to_pylist())


@pytest.mark.parametrize("vocabulary", [{"file": "classes.txt"}, {"from": "data"}])
def test_a_vocabulary_of_ten_thousand_is_the_same_from_a_file_and_from_the_data(vocabulary, tmp_path):
    case = many_classes_case(tmp_path, classes=CLASSES, train=CLASSES, validation=1, test=1, vocabulary=vocabulary)
    assert list(case.tasks["person"].classes) == [f"person {i:05d}" for i in range(CLASSES)]
    assert json.dumps(case.model_dump(mode="json"))
