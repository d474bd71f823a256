"""Nodes that die, join and are taken away with a notice change the number of workers, not what is trained."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from pipelines.batches.batch import batch_sampler
from pipelines.case.load import load_case
from pipelines.experiment.run import HISTORY, WEIGHTS, list_runs, read_record
from tests.commands import run_apart
from tests.pipelines.counted_case import SIZES, planned_counts
from tests.pipelines.train.elastic_run import STAND_STILL, STEPS
from tests.pipelines.train.test_resume import train_alone


@pytest.mark.starts_ray
def test_a_node_that_dies_one_that_joins_and_one_that_is_taken_away(tmp_path):
    noticed = run_apart("tests.pipelines.train.elastic_run", tmp_path)["noticed"]

    case = load_case(str(tmp_path / "counted.yaml"), [f"storage.path={tmp_path / 'store'}"])
    (run,) = list_runs(case)
    (folder,) = (tmp_path / "store").glob("counted-*/runs/co-trained/shared/seed-0")
    events = [(event["step"], event["what"]) for event in read_record(str(folder))["events"]]
    died, joined, notice, taken = events
    assert died[0] >= 100
    assert died[1] == taken[1] == "resumed with 1 worker"
    assert joined == (STAND_STILL, "resumed with 2 workers")
    assert noticed <= notice[0] <= taken[0]
    assert notice[0] % 50, "a checkpoint of its own, not the next that was due"
    assert notice[1] == "a node is about to be taken away"

    weights = safetensors.torch.load_file(folder / WEIGHTS)
    assert (
        weights["backbone.counts"].tolist() == planned_counts(batch_sampler(case, SIZES, 0, run.tasks), STEPS).tolist()
    )
    # Alone it would stand still, waiting for others.
    options = case.network.options | {"alone_until": None}
    alone = case.model_copy(update={"network": case.network.model_copy(update={"options": options})})
    train_alone(alone, tmp_path / "alone")
    expected = Path(run.folder(str(tmp_path / "alone")))
    history, of_one = (pq.read_table(file / HISTORY).to_pandas() for file in (folder, expected))
    np.testing.assert_allclose(history, of_one, rtol=2e-3, atol=2e-4)
    for name, weight in safetensors.torch.load_file(expected / WEIGHTS).items():
        torch.testing.assert_close(weights[name], weight, rtol=2e-2, atol=2e-3, msg=name)
