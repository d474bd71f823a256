"""A case whose runs are there, without training."""

from pathlib import Path

import pytest
import safetensors.torch

from pipelines.base.storage import join, write_whole
from pipelines.blocks.datasets import write_data_sets
from pipelines.case.build import build_network
from pipelines.case.load import as_yaml, load_case
from pipelines.experiment.layout import CASE_FILE, DATA_SETS, experiment_folder
from pipelines.experiment.run import WEIGHTS, list_runs, write_record
from pipelines.ingest.ingest import ingest, ingested

ENDED = {
    "seconds": 1.0,
    "waited_for_data_s": 0.0,
    "workers": 1,
    "steps": 1,
    "validation_s": 0.0,
    "best": None,
    "events": [],
}


@pytest.fixture
def case_of(ray_local, digits_store):
    """A case whose runs are there: with parameters as they are drawn, which is all that an export looks at."""

    def load(*overrides):
        settings = ["training.seeds=[3]", "training.steps=1", "evaluation.replicates=5"]
        case = load_case("digits", [f"storage.path={digits_store}", *settings, *overrides])
        ingest(case)
        for run in list_runs(case):
            folder = Path(run.folder(experiment_folder(case)))
            folder.mkdir(parents=True, exist_ok=True)
            weights = build_network(case, list(run.tasks), run.seed).state_dict()
            safetensors.torch.save_file(weights, folder / WEIGHTS)
            write_record(
                str(folder), run, ingested(case), {"seconds": 1.0, "waited_for_data_s": 0.0, "workers": 1} | ENDED
            )
        write_whole(join(experiment_folder(case), CASE_FILE), as_yaml(case))
        write_data_sets(join(experiment_folder(case), DATA_SETS), ingested(case))
        return case

    return load
