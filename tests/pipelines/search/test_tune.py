"""`kindred tune` on real trials: validation alone, what failed is told, and its best case is one that runs."""

import json
import os
from pathlib import Path

import pytest

from mtlcore import task_metrics
from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import split_tests
from pipelines.evaluate.predict_split import predict_runs
from pipelines.experiment.lease import training_lease
from pipelines.experiment.run import list_runs, read_record
from pipelines.ingest.ingest import ingested
from pipelines.search.conclude import conclude
from pipelines.search.job import trial_case, work_here
from pipelines.search.search import Job, Search
from pipelines.search.settings import with_case_settings
from pipelines.search.store import SearchStore, search_folder
from pipelines.search.tune import space_of, tune
from tests.commands import kindred_here

SMALL = ["training.steps=15", "training.seeds=[0]", "evaluation.replicates=50", "tuning.objective=mean"]


def search_here(case, folder, store=SearchStore):
    """Search in this process; return what was found."""
    data_sets = ingested(case).of_split("train", "validation")
    search = Search(case, space_of(case), store(str(folder)))
    work_here("worker", search, case, data_sets, search.store)
    return search, conclude(search)


def folder_of(case):
    """Return where the command looks for a search, and finds it done."""
    return search_folder(case, {key: of.as_dict() for key, of in space_of(case).items()})


def test_a_search_on_ray_scores_on_validation_and_finds_its_trials_again_without_ray(ray_local, tmp_path, capsys):
    sets = [*SMALL, f"storage.path={tmp_path}", "tuning.trials=2", "tuning.seeds=[0]", "tuning.fresh_seeds=1"]
    case = load_case("digits", sets)
    steps.ingest(case)
    test_blocks = list((tmp_path / "blocks").glob("test_pictures-*/*.arrow"))
    assert test_blocks
    for file in test_blocks:  # whoever opens the test split now fails
        file.unlink()
    capsys.readouterr()
    found = tune(case, ingested(case))
    assert capsys.readouterr().out == "", "standard output is for the result"
    assert [of.name or of.origin for of in found.record.trials] == [
        "naive", "single-task", "shipped", "suggested", "suggested"
    ]  # fmt: skip
    assert all(of.state == "finished" for of in found.record.trials)
    assert len(found.record.fresh) == 1
    for number in (1, 3):
        record = found.record.trials[number]
        tried = trial_case(case, Job(number, record.settings, record.name, (0,), False), 0)
        runs, place = list_runs(tried), SearchStore(found.folder).trial_folder(number)
        predicted = predict_runs(tried, runs, ingested(case), place, "validation")
        tested = split_tests(tried, predicted, ingested(case), "validation")
        for run in runs:
            for name in run.tasks:
                task = {"digit": "accuracy", "traits": "macro_f1"}[name]
                from pipelines.case.build import tasks_of

                expected = task_metrics(tested[name].logits[run], tested[name].labels, tasks_of(case)[name])[task]
                assert record.scores[name] == pytest.approx(expected)
    told = kindred_here("tune", "digits", "--json", *(f"--set={setting}" for setting in sets))
    assert told.returncode == 0, told.stderr
    with training_lease(found.folder):
        refused = kindred_here("tune", "digits", "--extend=1", *(f"--set={setting}" for setting in sets))
    assert refused.returncode == 2
    assert f"process {os.getpid()} on" in refused.stderr
    again = json.loads(told.stdout)
    assert again["trials"] == json.loads(json.dumps([of.as_dict() for of in found.record.trials]))


def test_trials_end_early_go_on_from_their_checkpoints_and_fail_with_their_reason(digits_store, ray_local, tmp_path):
    space = "{training.optimizer.lr: {choice: [0.003, 1.0e-7, 1.0e30]}}"
    sets = ["training.validation.every_steps=5", f"tuning.space={space}", "tuning.search=grid", "tuning.seeds=[0]"]
    sets += ["tuning.scheduler=median", "tuning.grace_steps=5", "tuning.fresh_seeds=0", f"storage.path={digits_store}"]
    case = load_case("digits", [*SMALL, *sets])
    steps.ingest(case)

    class Killed(BaseException):
        pass

    class Dying(SearchStore):
        """Dies in the middle of the first trial, when it has validated twice."""

        def write_trial(self, record):
            super().write_trial(record)
            if len(record.curve) == 2:
                raise Killed

    checkpoints = ["training.checkpoints.every_steps=2"]
    case = load_case("digits", [*SMALL, *sets, *checkpoints])
    with pytest.raises(Killed):
        search_here(case, tmp_path, Dying)
    search, found = search_here(case, tmp_path)
    trials = {of.number: of for of in found.record.trials}
    shipped = read_record(list_runs(trial_case(case, Job(2, trials[2].settings, "", (0,), True), 0))[0].folder(
        search.store.trial_folder(2)))  # fmt: skip
    assert any("resumed" in event["what"] for event in shipped["events"])
    by_rate = {of.settings["training.optimizer.lr"]: of for of in trials.values() if of.origin != "baseline"}
    assert by_rate[1e30].state == "failed"
    assert "finite" in by_rate[1e30].reason
    assert by_rate[1e-7].state in ("stopped", "finished")
    assert set(by_rate) == {0.003, 1e-7, 1e30}
    assert found.record.chosen in (None, 2)


def test_where_nothing_beats_the_baselines_no_case_is_written_and_the_reason_is_told(digits_store, ray_local, tmp_path):
    # The couplings are off whatever is searched, so that it can be no more than chance.
    sets = ["training.matching.ill.weight=0", "training.matching.dm.weight=0", f"storage.path={digits_store}"]
    sets += ["tuning.space={training.clip_norm: {choice: [100, 200]}}", "tuning.search=random", "tuning.seeds=[0, 1]"]
    case = load_case("digits", [*SMALL, *sets, "tuning.fresh_seeds=2"])
    steps.ingest(case)
    _, found = search_here(case, tmp_path)
    assert found.case_file is None
    assert found.record.chosen is None
    assert "no case is written" in found.record.verdict
    assert not list(Path(tmp_path).glob("*-tuned.yaml"))
    assert len(found.record.fresh) == 2


def test_the_best_case_says_where_values_came_from_and_confirm_scores_its_arms_on_the_test_split(
    digits_store, ray_local
):
    # Trained without couplings for so few steps a network knows little: ILL is a large gain.
    sets = ["training.matching.ill.weight=0", "training.matching.dm.weight=0", f"storage.path={digits_store}"]
    sets += ["tuning.space={ill.weight: {choice: [6, 10]}}", "tuning.search=grid", "tuning.seeds=[0, 1, 2]"]
    sets = [*SMALL, "training.steps=40", *sets, "tuning.objective=digit"]
    case = load_case("digits", sets)
    steps.ingest(case)
    _, found = search_here(case, folder_of(case))
    assert found.case_file is not None, found.record.verdict
    chosen = found.record.trials[found.record.chosen]
    best = load_case(found.case_file)
    weight = chosen.settings["training.matching.ill.weight"]
    assert best.arms["co-trained"].matching.ill.weight == weight
    assert best.arms["naive"] == case.arms["naive"]
    text = Path(found.case_file).read_text()
    assert text.count(f"weight: {float(weight)}  # trial {chosen.number}; was 0.0") == 2
    assert "with fresh seeds" in text.splitlines()[1]

    command = "tune", "digits", "--json", "--confirm", *(f"--set={setting}" for setting in sets)
    told = kindred_here(*command)
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout)
    assert result["chosen"] == chosen.number
    assert set(result["confirmed"]["results"]["arms"]) == set(case.arms)
    assert Path(result["confirmed"]["report"]).is_file()
    runs = {file: file.stat().st_mtime_ns for file in Path(result["confirmed"]["experiment"]).glob("runs/**/run.json")}
    assert len(runs) == len({run.folder("") for run in list_runs(best)})
    assert json.loads(kindred_here(*command).stdout)["confirmed"] == result["confirmed"]
    assert {file: file.stat().st_mtime_ns for file in runs} == runs, "nothing is trained a second time"


def test_trials_of_two_workers_are_trained_by_both_and_end_early_together(digits_store, ray_local):
    arms = "{alone: {matching: none, tasks: digit}}"  # one network, and no baselines to train beside it
    space = "{training.optimizer.lr: {choice: [1.0e-7]}}"
    sets = [*SMALL, f"storage.path={digits_store}", f"arms={arms}", "tuning.arm=alone", f"tuning.space={space}"]
    sets += ["evaluation.baseline=alone", "evaluation.main_task=digit", "tuning.search=grid", "tuning.trials=1"]
    sets += ["training.workers=2", "training.validation.every_steps=5", "tuning.grace_steps=5", "tuning.reduction=2"]
    case = load_case("digits", [*sets, "tuning.seeds=[0]", "tuning.fresh_seeds=0", "tuning.concurrency=1"])
    steps.ingest(case)
    found = tune(case, ingested(case))
    shipped, other = found.record.trials
    assert (shipped.state, shipped.origin) == ("finished", "shipped")
    assert [point.step for point in shipped.curve] == [5, 10, 15]
    assert (other.state, [point.step for point in other.curve]) == ("stopped", [5])
    for of in (shipped, other):
        tried = trial_case(case, Job(of.number, of.settings, "", (0,), True), 0)
        (run,) = list_runs(tried)
        record = read_record(run.folder(SearchStore(found.folder).trial_folder(of.number)))
        assert record["workers"] == 2
        assert record["steps"] == of.curve[-1].step


def test_every_trial_failed_is_exit_code_1_and_they_stay_in_the_table(digits_store, ray_local):
    sets = [*SMALL, f"storage.path={digits_store}", "training.optimizer.lr=1.0e30", "tuning.trials=1"]
    case = load_case("digits", sets)
    steps.ingest(case)
    search_here(case, folder_of(case))
    told = kindred_here("tune", "digits", *(f"--set={setting}" for setting in sets))
    assert told.returncode == 1
    assert told.stdout.count("failed: ") == 4
    assert "finite" in told.stdout


def test_a_case_without_validation_data_cannot_be_tuned(digits_store):
    case = load_case("digits", [*SMALL, f"storage.path={digits_store}", "datasets.validation_pictures.split=test"])
    with pytest.raises(UserError, match="found none of split 'validation' labelled for task 'digit'"):
        steps.tune(case)


def test_settings_of_a_trial_change_the_tuned_arm_and_what_all_arms_share():
    case = load_case("digits", ["arms.co-trained.balancing=dwa"])
    settings = {
        "training.matching.dm.tau": 2.5,
        "training.optimizer.lr": 0.1,
        "training.balancing": {"method": "fixed"},
        "relatedness.0.weight": 0.3,
        "training.task_weights.digit": 2.0,
    }
    tried = with_case_settings(case, settings)
    assert tried.arms["co-trained"].matching.dm.tau == 2.5
    assert tried.arms["co-trained"].balancing.method == "fixed"
    assert tried.arms["naive"] == case.arms["naive"]
    assert tried.training.optimizer.lr == 0.1
    assert tried.relatedness[0].weight == 0.3
    assert tried.training.task_weights == {"digit": 2.0}
    with pytest.raises(UserError, match=r"training\.optimizer\.lr: found -1"):
        with_case_settings(case, {"training.optimizer.lr": -1})
