"""A shipped case of drawn pictures, and one of windows over time, from the case file to results, on few rows."""

import pytest

from pipelines.case.load import load_case
from tests.pipelines.one_worker import run_here

SHORT = ["training.steps=3", "training.batch_size=8", "training.seeds=[0]", "logging.relatedness_every=0"]


def test_the_affective_case_runs_on_drawn_faces(ray_local, tmp_path):
    data_sets = load_case("affective").datasets
    few = [f"datasets.{name}.source.rows=24" for name in data_sets]
    small = [f"datasets.{name}.source.size=16" for name in data_sets]
    arms = "arms={single-task: {networks: one_per_task}, co-trained: {}}"
    settings = [*SHORT, *few, *small, "input.height=16", "input.width=16", arms, f"storage.path={tmp_path}"]
    results = run_here(load_case("affective", settings)).results
    assert {name: (of.rows, of.quarantined) for name, of in results.data_sets.items()} == dict.fromkeys(
        data_sets, (24, 0)
    )
    assert results.data_sets["film_both"].annotated == {"expression": 24, "units": 24}
    assert set(results.arms) == {"single-task", "co-trained"}


def test_the_study_of_a_time_series_runs_without_data_of_the_users(ray_local, tmp_path):
    results = run_here(load_case("studies/time_series", [*SHORT, f"storage.path={tmp_path}"])).results
    train, test = results.data_sets["past_hours"], results.data_sets["later_hours"]
    assert (train.rows, test.rows) == (600 - 24 - 12 + 1, 1440 - 24 - 12 + 1)
    assert list(results.auxiliary) == ["extra"]
    assert 0 <= results.arms["multi-task"]["main"].metrics["accuracy"][0] <= 1


@pytest.mark.parametrize("name", ["affective", "faces", "species", "shopping", "studies/focus"])
def test_what_is_made_does_not_depend_on_where_the_case_file_lies(name, tmp_path):
    from pipelines.experiment.layout import experiment_folder

    case = load_case(name, [f"storage.path={tmp_path}"])
    assert not case.needs_data_root
    elsewhere = case.model_copy(update={"data_root": "/somewhere/else"})
    assert experiment_folder(case) == experiment_folder(elsewhere)
