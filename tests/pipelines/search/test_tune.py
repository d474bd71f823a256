"""`kindred tune` scores on the validation split alone, and its best configuration is a case that runs."""

import json
from pathlib import Path

import pytest
from ray import tune as ray_tune

from mtlcore import primary_metric, task_metrics
from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.case.build import tasks_of
from pipelines.case.load import load_case
from pipelines.case.search_spaces import load_space
from pipelines.evaluate.evaluate import predict_runs, split_tests
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingested
from pipelines.search.settings import with_settings
from pipelines.search.tune import search_plan, tune
from tests.pipelines.one_worker import train_here

SMALL = ["training.steps=15", "training.seeds=[0]", "tuning.trials=2", "evaluation.replicates=20"]


def test_the_best_trial_becomes_a_case_that_runs_and_the_test_split_is_never_opened(ray_local, tmp_path, capsys):
    case = load_case("digits", [*SMALL, f"storage.path={tmp_path}"])
    steps.ingest(case)
    test_blocks = list((tmp_path / "blocks").glob("test_pictures-*/*.arrow"))
    assert test_blocks
    for file in test_blocks:  # whoever opens the test split now fails
        file.unlink()
    found = tune(case, ingested(case))
    assert capsys.readouterr().out == "", "standard output is for the result"
    assert len(found.trials) == 2
    assert found.trials[0].score >= found.trials[1].score
    assert found.trials[0].settings != found.trials[1].settings
    standing = case.arms["co-trained"].matching
    keys = [key.split(".") for key in load_space("matching")]
    now = {f"{section}.{name}": getattr(getattr(standing, section), name) for section, name in keys}
    assert now in [trial.settings for trial in found.trials], "the case as it stands is one of the trials"
    assert 0 < found.trials[0].score < 1

    trial = with_settings(case, found.trials[0].settings)
    alone = trial.model_copy(update={"arms": {"co-trained": trial.arms["co-trained"]}})
    (run,) = list_runs(alone)
    place = Path(found.case_file).parent / "trials" / fingerprint(found.trials[0].settings)
    predicted = predict_runs(alone, [run], ingested(case), str(place), "validation")
    tested = split_tests(alone, predicted, ingested(case), "validation")
    assert len(tested["digit"].labels) == 300
    expected = [
        task_metrics(tested[name].logits[run], tested[name].labels, task)[primary_metric(task)]
        for name, task in tasks_of(case).items()
    ]
    assert found.trials[0].score == pytest.approx(sum(expected) / 2)

    best = load_case(found.case_file)
    matching = best.arms["co-trained"].matching.model_dump()
    for key, value in found.trials[0].settings.items():
        section, name = key.split(".")
        assert matching[section][name] == (value if isinstance(value, str) else pytest.approx(value))
    assert best.arms["naive"] == case.arms["naive"]
    assert json.loads(Path(found.case_file).with_name("trials.json").read_text())[0]["score"] == found.trials[0].score

    # The settings follow from the seed, and a trial's numbers from its settings.
    space = load_space("matching")
    tuner = ray_tune.Tuner(scored_alike, param_space=space, tune_config=search_plan(case, space, 1))
    tried = [result.config for result in tuner.fit()]
    assert sorted(map(fingerprint, tried)) == sorted(fingerprint(trial.settings) for trial in found.trials)
    train_here(alone, experiment=tmp_path / "again")
    again = predict_runs(alone, [run], ingested(case), str(tmp_path / "again"), "validation")
    for task, logits in again[run].items():
        assert logits.equal(predicted[run][task])


def scored_alike(settings):
    ray_tune.report({"score": 0.5})


def test_a_case_without_validation_data_cannot_be_tuned(ray_local, digits_store):
    case = load_case("digits", [*SMALL, f"storage.path={digits_store}", "datasets.validation_pictures.split=test"])
    with pytest.raises(UserError, match="found none of split 'validation' labelled for task 'digit'"):
        steps.tune(case)


def test_settings_of_a_trial_change_the_tuned_arm_alone():
    case = load_case("digits")
    tried = with_settings(case, {"dm.tau": 2.5})
    assert tried.arms["co-trained"].matching.dm.tau == 2.5
    assert tried.arms["naive"] == case.arms["naive"]
    assert tried.training == case.training
