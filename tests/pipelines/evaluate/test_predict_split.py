"""A split is predicted alike by however many tasks, and whatever happens to them."""

import itertools

import pytest
import torch

from pipelines.evaluate.forward import one_thread
from pipelines.evaluate.predict_split import parts_of, predict_rows, predict_runs, predict_split, rows_of_split
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingest
from tests.pipelines.many_classes import many_classes_case
from tests.pipelines.one_worker import train_here

ROWS = [("a", 0, 512), ("a", 512, 900), ("b", 0, 100), *(("c", i, i + 512) for i in range(0, 51_200, 512))]
TOTAL = 52_200


@pytest.fixture(scope="module")
def deaths(tmp_path_factory):
    return tmp_path_factory.mktemp("dying") / "deaths"


@pytest.fixture(scope="module")
def trained(ray_local, deaths):
    network = {"backbone": "tests.dying_backbone:DyingBackbone", "options": {"deaths": str(deaths)}}
    case = many_classes_case(deaths.parent, classes=40, train=80, validation=40, test=1200, network=network)
    data_sets = ingest(case)
    train_here(case)
    return case, data_sets


@pytest.mark.parametrize(("runs", "room"), [(1, 1), (1, 8), (6, 2), (6, 64), (1, 10_000)])
@pytest.mark.parametrize("bytes_of_a_row", [40, 40_000])
def test_parts_are_all_rows_in_order_enough_for_the_room_and_none_too_large(runs, room, bytes_of_a_row):
    parts = parts_of(ROWS, bytes_of_a_row, runs, room)
    assert list(itertools.chain(*parts)) == ROWS
    sizes = [sum(stop - start for _, start, stop in part) for part in parts]
    assert all(bytes_of_a_row * size <= (1 << 28) + 512 * bytes_of_a_row for size in sizes)
    if bytes_of_a_row == 40:
        assert len(parts) == 1 if runs >= room else len(parts) >= min(room // runs, 4)
        assert len(parts) <= TOTAL // 8000, "a network is built for each"


def test_what_is_predicted_does_not_depend_on_how_the_rows_are_divided(trained):
    case, data_sets = trained
    run, experiment, rows = list_runs(case)[0], experiment_folder(case), rows_of_split(data_sets, "test")
    assert len(rows) == 3
    with one_thread():
        whole = predict_runs(case, [run], data_sets, experiment, "test")[run]
        parts = [predict_rows(case, run, data_sets, experiment, "test", [part]) for part in rows]
    for task in run.tasks:
        assert torch.equal(torch.cat([part[task] for part in parts]), whole[task])


def test_predictions_of_a_worker_that_dies_are_made_again_and_taken_as_often_as_they_are_asked_for(trained, deaths):
    case, data_sets = trained
    runs, experiment = list_runs(case)[:2], experiment_folder(case)
    deaths.mkdir()
    (deaths / "of one").touch()
    stored = predict_split(case, runs, data_sets, experiment, "test")
    assert not list(deaths.iterdir()), "nobody died"
    with one_thread():
        here = predict_runs(case, runs, data_sets, experiment, "test")
    for run in runs:
        assert set(stored[run]) == set(run.tasks)
        for task in (*run.tasks, *run.tasks):
            assert torch.equal(stored[run][task], here[run][task])
