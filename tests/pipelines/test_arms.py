"""What an arm may set of its own: its tasks, shuffled labels, network, sharing, mixing, task weights."""

import numpy as np
import pytest
import torch

from mtlcore import load_exported
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.batches.measured_labels import with_measured_labels
from pipelines.batches.shuffled_labels import shuffled
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.experiment.run import list_runs, read_weights
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.report import write_report
from pipelines.report.results_table import results_table
from pipelines.use.export import export_run
from tests.pipelines.one_worker import train_here
from tests.pipelines.test_numbers import TASKS, write_case

ARMS = {
    "single-task": {"networks": "one_per_task"},
    "naive": {"matching": "none"},
    "two": {"tasks": ["group", "age"], "matching": "none"},
    "shuffled": {"tasks": ["group", "age"], "matching": "none", "shuffle": "age"},
    "weighed": {"tasks": ["group", "age"], "matching": "none", "task_weights": {"age": 0}},
    "wide": {"network": {"widths": [32]}, "sharing": "mmoe", "mixing": "uniform", "matching": "none"},
}


def case_of(folder, *overrides, arms=ARMS, **sections):
    tasks = TASKS | {"pain": TASKS["pain"] | {"auxiliary": True}}
    case = load_case(str(write_case(folder, tasks=tasks, arms=arms, **sections)), overrides)
    untested = case.datasets["test"].model_copy(update={"labels": {}})
    rules = {name: rule for name, rule in case.datasets["test"].labels.items() if name != "pain"}
    datasets = {**case.datasets, "test": untested.model_copy(update={"labels": rules})}
    return case.model_copy(update={"datasets": datasets})


@pytest.fixture(scope="module")
def ready(tmp_path_factory, ray_local):
    case = case_of(tmp_path_factory.mktemp("arms"), "training.validation.every_steps=null", "training.best=null")
    ingest(case)
    return with_measured_labels(case, ingested(case))


@pytest.fixture(scope="module")
def finished(ready):
    data_sets = ingested(ready)
    return ready, train_here(ready), evaluate(ready, data_sets), data_sets


def test_each_arm_trains_its_own_tasks_and_an_untested_auxiliary_task_gets_no_network(ready):
    runs = {}
    for run in list_runs(ready):
        runs.setdefault(run.arm, []).append((run.network, run.tasks))
    assert runs["single-task"] == [(task, (task,)) for task in ("age", "affect", "group")]
    assert runs["naive"] == [("shared", tuple(TASKS))]
    assert runs["two"] == [("shared", ("age", "group"))]


def test_an_arm_is_reported_on_what_it_serves_and_compared_on_what_the_baseline_serves_too(finished):
    case, _, results, _ = finished
    assert {arm: sorted(of_arm) for arm, of_arm in results.arms.items()} == {
        arm: ["age", "group"] if arm in ("two", "shuffled", "weighed") else ["affect", "age", "group"] for arm in ARMS
    }
    gains = [
        sign * (results.arms["two"][task].mean() / results.arms["single-task"][task].mean() - 1)
        for task, sign in (("age", -1), ("group", 1))
    ]
    assert results.delta_m["two"] == pytest.approx(np.mean(gains))
    assert results.auxiliary == ["pain"]
    assert "shuffled" in results_table(results)
    write_report(case, results)


def test_shuffled_labels_teach_nothing_of_their_task(finished):
    results = finished[2]
    assert results.arms["shuffled"]["age"].mean("r2") < 0.2 < results.arms["two"]["age"].mean("r2")


def test_network_sharing_and_weights_are_the_arms_own(finished):
    folders = finished[1]
    by_arm = {run.arm: read_weights(str(folder)) for run, folder in folders.items()}
    assert any("gate" in name for name in by_arm["wide"])
    assert not any("gate" in name for name in by_arm["naive"])
    widths = {
        arm: {w.shape[0] for name, w in weights.items() if name.startswith("backbone") and w.dim() == 2}
        for arm, weights in by_arm.items()
    }
    assert 24 in widths["naive"]
    assert 32 in widths["wide"]
    assert 24 not in widths["wide"]
    head = {arm: by_arm[arm]["heads.age_head.weight"] for arm in ("two", "weighed")}
    assert not torch.equal(head["two"], head["weighed"])


def test_an_arm_with_a_network_of_its_own_is_exported_with_it(finished, tmp_path):
    case, _, _, data_sets = finished
    exported = load_exported(export_run(case, data_sets, "wide", None, None, tmp_path / "out"))
    assert "mmoe" in str(exported.description.network)
    assert sorted(exported.tasks) == ["affect", "age", "group"]


def test_a_permutation_keeps_which_rows_are_annotated_and_what_their_labels_are(ready):
    readers = open_readers(ready, ingested(ready), "train")
    dealt, again, other = (shuffled(readers, ["affect"], seed)["others"] for seed in (3, 3, 4))
    before, after = readers["others"].labels("affect"), dealt.labels("affect")
    assert not np.array_equal(before, after, equal_nan=True)
    assert sorted(map(str, before)) == sorted(map(str, after)), "a row's numbers stay together"
    assert np.array_equal(after, again.labels("affect"), equal_nan=True)
    assert not np.array_equal(after, other.labels("affect"), equal_nan=True)
    rows = np.array([5, 1, 70])
    assert np.array_equal(dealt.gather(rows).labels["affect"], after[rows], equal_nan=True)
    assert np.array_equal(dealt.gather(rows).inputs, readers["others"].gather(rows).inputs)
    assert np.array_equal(dealt.gather_labels(rows)["group"], readers["others"].labels("group")[rows])


def test_arms_share_a_network_only_where_all_that_they_set_is_the_same(ready):
    assert ready.trained_as("two") == "two"
    arms = {
        "a": {"tasks": ("age",)},
        "b": {"tasks": ("age",)},
        "c": {"tasks": ("age",), "batch": "shared"},
        "d": {"tasks": ("age",), "shuffle": ("age",)},
    }
    case = ready.model_copy(update={"arms": {n: ready.arms["naive"].model_copy(update=a) for n, a in arms.items()}})
    assert [case.trained_as(name) for name in arms] == ["a", "a", "c", "d"]


def test_without_relatedness_no_arm_equals_the_naive_one(tmp_path):
    case = load_case(str(write_case(tmp_path, arms=None)))
    assert list(case.arms) == ["single-task", "naive"]


@pytest.mark.parametrize(
    ("arm", "says"),
    [
        ({"tasks": ["agee"]}, "arms.x.tasks: found 'agee', no such task; did you mean 'age'"),
        ({"tasks": []}, "arms.x.tasks: found none"),
        ({"tasks": ["age"], "shuffle": ["group"]}, "arms.x.shuffle: found 'group', which the arm does not serve"),
        ({"task_weights": {"old": 1}}, "arms.x.task_weights: found 'old'"),
        ({"mixing": {"some": 1}}, "arms.x.mixing: 'others' is missing"),
        ({"network": {"backbone": "small_cnn"}}, "arms.x.network.backbone: found 'small_cnn', which takes images"),
        ({"network": {"hidden": [3]}}, "unknown key 'hidden'"),
    ],
)
def test_a_mistake_in_an_arm_is_told_with_its_place(tmp_path, arm, says):
    with pytest.raises(UserError) as error:
        load_case(str(write_case(tmp_path, arms={"single-task": {"networks": "one_per_task"}, "x": arm})))
    assert says in str(error.value)
