"""What another experiment of the same storage has trained is not trained again, and more steps go on from its end."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.case.load import load_case
from pipelines.experiment.identity import identity
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import HISTORY, RECORD, WEIGHTS, is_done, list_runs, read_record
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.reuse import reuse_runs
from tests.pipelines.counted_case import write_counted_case
from tests.pipelines.one_worker import train_here

PLAIN = ["arms={co-trained: {}, naive: {matching: none}}", "evaluation.baseline=naive", "training.steps=12"]


@pytest.fixture(scope="module")
def load(ray_local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("counted")
    file = str(write_counted_case(folder))

    def load(*overrides):
        case = load_case(file, [f"storage.path={folder / 'store'}", *PLAIN, *overrides])
        ingest(case)
        return case

    return load


@pytest.fixture(scope="module")
def trained(load):
    case = load("training.schedule=constant")
    train_here(case)
    return case


def reuse(case, extend=False):
    runs = list_runs(case)
    reuse_runs(case, runs, ingested(case), experiment_folder(case), extend)
    return [str(run) for run in runs if is_done(run, experiment_folder(case), ingested(case))]


def weights(case, number=0):
    return (Path(list_runs(case)[number].folder(experiment_folder(case))) / WEIGHTS).read_bytes()


def test_an_arm_changed_or_added_and_one_seed_more_train_that_alone(load, trained):
    more = load(
        "training.schedule=constant",
        "training.seeds=[0, 1]",
        "arms={other-name: {}, naive: {matching: none}, weaker: {matching: {dm: {weight: 0.1}}}}",
    )
    assert experiment_folder(more) != experiment_folder(trained)
    assert reuse(more) == ["other-name/seed-0", "naive/seed-0"]
    assert weights(more) == weights(trained)
    record = read_record(list_runs(more)[0].folder(experiment_folder(more)))
    assert record["run"]["arm"] == "other-name"
    assert record["copied_from"].startswith(experiment_folder(trained))


def test_another_table_leaves_what_does_not_use_it(load, trained):
    case = load("training.schedule=constant", "relatedness.0.table.1.a=0.25")
    assert reuse(case) == ["naive/seed-0"]


@pytest.mark.parametrize(
    "changed",
    [
        "training.optimizer.lr=0.5",
        "training.batch_size=30",
        "network.options.dropout=0.3",
        "training.balancing=fixed",
        "tasks.kind.aliases={zero: 0}",
        "training.unlabelled.evaluated=average",
    ],
)
def test_what_the_numbers_depend_on_makes_another_run(load, changed):
    plain, other = load(), load(changed)
    for run, same in zip(list_runs(plain), list_runs(other), strict=True):
        assert identity(plain, run) != identity(other, same)


def test_arms_share_an_identity_only_where_they_share_their_networks():
    arms = (
        "{a: {}, b: {infer: table}, c: {matching: none}, d: {balancing: pcgrad}, e: {networks: one_per_task}, "
        "f: {networks: one_per_task, batch: shared}, g: {matching: {dm: {weight: 0.5}}}, "
        "h: {unlabelled: {consistency: {weight: 1}}}}"
    )
    case = load_case("digits", [f"arms={arms}", "evaluation.baseline=a"])
    assert [name for name in case.arms if case.trained_as(name) != name] == ["b"]
    settings = [identity(case, run).settings for run in list_runs(case)]
    assert len(set(settings)) == len(settings)


def test_more_steps_go_on_from_the_end_with_the_bits_of_one_longer_run(load, trained, tmp_path):
    longer = load("training.schedule=constant", "training.steps=20")
    assert reuse(longer) == []
    undisturbed = train_here(longer, experiment=tmp_path)
    went_on = train_here(longer)
    for run, folder in went_on.items():
        assert (folder / WEIGHTS).read_bytes() == (undisturbed[run] / WEIGHTS).read_bytes()
        assert pq.read_table(folder / HISTORY).equals(pq.read_table(undisturbed[run] / HISTORY))
        events = json.loads((folder / RECORD).read_text())["events"]
        assert [event["step"] for event in events] == [12, 12]
        assert "went on from the end of a run of 12 steps" in events[0]["what"]
        assert identity(longer, run).settings == read_record(str(folder))["settings"]


def test_a_schedule_that_spans_the_steps_begins_anew_and_says_so_unless_it_is_told_to_go_on(load, capsys):
    short, longer = load(), load("training.steps=15")
    train_here(short)
    assert reuse(longer) == []
    assert "4 runs" not in (told := capsys.readouterr().err)
    assert "2 of 2 runs begin anew" in told
    assert "--extend" in told
    assert not (Path(list_runs(longer)[0].folder(experiment_folder(longer))) / "checkpoints").exists()
    reuse(longer, extend=True)
    for run, folder in train_here(longer).items():
        record = read_record(str(folder))
        assert record["events"][0]["step"] == 12
        assert "learning rates" in record["events"][0]["what"]
        assert record["settings"] != identity(longer, run).settings, "nobody takes it for a run that never stopped"


def test_without_its_last_state_a_run_cannot_be_gone_on_from(load):
    short = load("training.schedule=constant", "training.seeds=[7]", "training.checkpoints.final=false")
    for folder in train_here(short).values():
        assert not (folder / "final").exists()
    longer = load("training.schedule=constant", "training.seeds=[7]", "training.steps=20")
    reuse(longer)
    assert not (Path(list_runs(longer)[0].folder(experiment_folder(longer))) / "checkpoints").exists()
