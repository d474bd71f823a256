"""Searches beside each other on one Ray, of which a node and drivers are killed: same trials, none twice, none lost."""

import pytest

from pipelines.case.load import load_case
from pipelines.experiment.run import list_runs, read_record
from pipelines.ingest.ingest import ingested
from pipelines.search.job import trial_case, work_here
from pipelines.search.search import Job, Search
from pipelines.search.store import SearchStore
from pipelines.search.tune import space_of
from tests.commands import run_apart
from tests.pipelines.search.shared_ray import settings_of
from tests.standing_backbone import permit


@pytest.mark.starts_ray
def test_two_searches_on_one_ray_with_a_killed_node_and_killed_drivers_come_to_what_undisturbed_ones_do(tmp_path):
    told = run_apart("tests.pipelines.search.shared_ray", tmp_path)
    assert told["codes"] == [0, 0], told["said"]
    assert told["cut"][0] == 130
    assert f"the search was cut: {told['ended'][3][0]} of 7 trials have ended" in told["cut"][1]
    assert told["noted"] >= 6
    assert told["again"] == [], "what had ended was trained again"

    resumed = 0
    for seed, folder in enumerate(told["folders"]):
        case = load_case("digits", settings_of(tmp_path, "ab"[seed], seed))
        permit(tmp_path / "ab"[seed], 50)
        undisturbed = Search(case, space_of(case), SearchStore(str(tmp_path / f"undisturbed-{seed}")))
        work_here("worker", undisturbed, case, ingested(case).of_split("train", "validation"), undisturbed.store)
        expected, found = undisturbed.store.read_trials(), SearchStore(folder).read_search()
        assert [of.number for of in found.trials] == list(range(7))
        assert len(found.fresh) == 1
        for of, one in zip(found.trials, expected, strict=True):
            assert (of.settings, of.state, of.seeds, of.name) == (one.settings, "finished", 1, one.name)
            assert of.scores == pytest.approx(one.scores, abs=1e-6), of.number
            assert [point.step for point in of.curve] == [point.step for point in one.curve]
            for run in list_runs(trial_case(case, Job(of.number, of.settings, of.name, (0,), True), 0)):
                events = read_record(run.folder(SearchStore(folder).trial_folder(of.number)))["events"]
                resumed += any("resumed" in event["what"] for event in events)
    assert resumed >= 3, "what was at work went on from its checkpoint"
