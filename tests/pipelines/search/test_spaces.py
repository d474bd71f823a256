"""Search spaces: every shipped one makes cases that are right, and searchers draw what the space says."""

import pytest
from optuna import distributions as of_optuna
from ray import tune
from ray.tune.search import Searcher

from pipelines.case.build import build_loss
from pipelines.case.checks import check_case
from pipelines.case.load import load_case
from pipelines.case.search_parameters import parameter_of
from pipelines.case.search_spaces import load_space
from pipelines.search.find_searcher import searcher_of
from pipelines.search.records import TrialRecord
from pipelines.search.search_plan import SearchPlan, settings_key
from pipelines.search.settings import with_case_settings
from pipelines.search.tune import space_of
from tune_spaces import space_names

WANTED = {
    "matching",
    "temperatures",
    "schedules",
    "per_pair",
    "optimisation",
    "mixing",
    "balancing",
    "architecture",
    "everything",
}


@pytest.fixture(scope="module")
def case():
    return load_case("digits")


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_shipped_space_makes_cases_that_are_right(case, name):
    assert set(space_names()) >= WANTED
    content = case.model_dump(mode="json", by_alias=True)
    space = load_space(name, content, "co-trained")
    searcher = searcher_of("random", SearchPlan(space, 0))
    seen = {key: set() for key in space}
    for number in range(30):
        settings = searcher.suggest(number)
        tried = with_case_settings(case, settings)
        if number < 8:
            assert check_case(tried, check_paths=False) == []
        for key, value in settings.items():
            assert space[key].holds(value)
            seen[key].add(repr(value))
    assert all(len(values) > 1 for values in seen.values())


def test_the_space_of_matching_holds_the_naive_network_and_every_form(case):
    space = load_space("matching", case.model_dump(mode="json", by_alias=True), "co-trained")
    for loss in ("ill", "dm", "sca"):
        assert space[f"training.matching.{loss}.weight"].holds(0.0)
    for key in ("dm.direction", "dm.form", "sca.form", "sca.source_form"):
        assert f"training.matching.{key}" in space


def test_the_forms_of_ray_tune_and_of_optuna_are_those_of_the_case_file():
    for ours, of_ray, theirs in (
        ({"uniform": [0, 2]}, tune.uniform(0, 2), of_optuna.FloatDistribution(0, 2)),
        ({"loguniform": ["1e-3", 2]}, tune.loguniform(1e-3, 2), of_optuna.FloatDistribution(1e-3, 2, log=True)),
        ({"randint": [1, 9]}, tune.randint(1, 9), of_optuna.IntDistribution(1, 8)),
        ({"choice": [1, "a"]}, tune.choice([1, "a"]), of_optuna.CategoricalDistribution([1, "a"])),
    ):  # fmt: skip
        assert parameter_of(ours) == parameter_of(of_ray) == parameter_of(theirs)
    with pytest.raises(ValueError, match=r"expected choice, uniform, loguniform or randint"):
        parameter_of(tune.randn())


CONDITIONAL = (
    "tuning.space={training.optimizer.name: {choice: [adamw, sgd]}, training.optimizer.momentum: {uniform: [0.5, 0.9], "
    "when: {training.optimizer.name: sgd}}, training.batch_size: {randint: [8, 12]}}"
)


@pytest.mark.parametrize("name", ["optuna", "random", "grid", "optuna.samplers:RandomSampler"])
def test_searchers_draw_from_the_space_and_keep_its_conditions(name):
    space = space_of(load_case("digits", [CONDITIONAL]))
    searcher = searcher_of(name, SearchPlan(space, 3))
    names = set()
    for number in range(12):
        settings = searcher.suggest(number)
        assert ("training.optimizer.momentum" in settings) == (settings["training.optimizer.name"] == "sgd")
        assert 8 <= settings["training.batch_size"] <= 11
        names.add(settings["training.optimizer.name"])
        searcher.tell(TrialRecord(number, settings, "finished", 0.5), 0.5)
    assert names == {"adamw", "sgd"} if name != "grid" else names == {"adamw", "sgd"} or names == {"adamw"}


def test_a_grid_ends_when_every_combination_has_been_tried():
    space = space_of(load_case("digits", [CONDITIONAL]))
    searcher = searcher_of("grid", SearchPlan(space, 0))
    tried = []
    while (settings := searcher.suggest(len(tried))) is not None:
        tried.append(settings)
    assert len(tried) == 4 + 5 * 4
    assert all(tried.count(one) == 1 for one in tried)


def test_whole_numbers_are_the_same_settings_however_they_are_written():
    assert settings_key({"a": 1.0, "b": [2, {"c": 0.0}]}) == settings_key({"b": [2.0, {"c": 0}], "a": 1})
    assert len({settings_key({"a": value}) for value in (True, 1, 1.5, "1", None)}) == 5


def test_a_searcher_that_is_told_the_records_goes_on_as_it_would_have():
    space = space_of(load_case("digits", [CONDITIONAL]))
    for name in ("optuna", "random", "grid"):
        whole = searcher_of(name, SearchPlan(space, 5))
        records = []
        for number in range(15):
            settings = whole.suggest(number)
            record = TrialRecord(number, settings, "finished", 1 / (1 + settings["training.batch_size"]))
            records.append(record)
            whole.tell(record, record.score)
        again = searcher_of(name, SearchPlan(space, 5))
        for record in records:
            again.tell(record, record.score)
        assert again.suggest(15) == whole.suggest(15), name


TOLD = []


class OfRayTune(Searcher):
    def suggest(self, trial_id):
        return {"training.batch_size": 8}

    def on_trial_complete(self, trial_id, result=None, error=False):
        TOLD.append((trial_id, result, error))


def test_a_searcher_of_ray_tunes_is_asked_and_told():
    space = space_of(load_case("digits", [CONDITIONAL]))
    searcher = searcher_of(f"{__name__}:OfRayTune", SearchPlan(space, 0))
    assert searcher.suggest(4) == {"training.batch_size": 8}
    searcher.tell(TrialRecord(4, {}, "finished", 0.25), 0.25)
    searcher.tell(TrialRecord(5, {}, "failed"), None)
    assert TOLD == [("00004", {"score": 0.25}, False), ("00005", None, True)]


def test_the_weight_of_a_pair_multiplies_those_of_its_losses(case):
    weights = {}
    for weight in (0.0, 0.5, 1.0):
        tried = with_case_settings(case, {"relatedness.0.weight": weight})
        (pair,) = build_loss(tried, list(tried.tasks), tried.arms["co-trained"].matching, {}).pairs
        weights[weight] = (pair.ill.weight, pair.dm.weight)
        assert pair.has_loss == (weight > 0)
    assert weights == {0.0: (0, 0), 0.5: (3, 0.15), 1.0: (6, 0.3)}
