"""The CIFAR-10 case on the real images, cut down; skips where they are not."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.batches.batch import open_readers
from pipelines.case.load import load_case
from pipelines.ingest.ingest import ingested
from tests.pipelines.one_worker import run_here

SMALL = [
    "training.steps=40",
    "training.seeds=[0]",
    "arms={single-task: {networks: one_per_task}, co-trained: {}}",
    "datasets.attribute_pictures.select.rows=1500",
    "datasets.validation_pictures.select={rows: 200, start: 2000}",
    "datasets.test_pictures.select={rows: 1000}",
    "network.widths=[16, 32, 64]",
    "evaluation.replicates=50",
]


def test_the_real_pictures_go_through_all_of_it(ray_local, cifar10_archive, tmp_path):
    case = load_case("cifar10", [*SMALL, f"data_root={cifar10_archive}", f"storage.path={tmp_path}"])
    results = run_here(case).results
    data = results.data_sets
    assert data["class_pictures"].annotated == {"class": 500}
    assert data["attribute_pictures"].annotated == {"attributes": 1500}
    assert data["test_pictures"].rows == 1000
    assert data["class_pictures"].rows_per_step == 32
    # learned something in forty updates: above one class in ten
    assert results.arms["co-trained"]["class"].mean() > 0.2
    assert results.arms["co-trained"]["class"].difference is not None

    readers = open_readers(case, ingested(case), "train")
    ids = [set(reader.ids) for reader in readers.values()]
    assert not ids[0] & ids[1], "no picture carries both labels"
    attributes = readers["attribute_pictures"]
    batch = attributes.gather(np.arange(20))
    for picture, held in zip(attributes.ids[:20], batch.labels["attributes"], strict=True):
        animal = Path(picture).parent.name in ("bird", "cat", "deer", "dog", "frog", "horse")
        assert held[0] == animal


def test_a_wrong_data_root_says_how_to_set_it():
    from pipelines.base.errors import UserError

    with pytest.raises(UserError, match="data_root=DIR"):
        load_case("cifar10")
