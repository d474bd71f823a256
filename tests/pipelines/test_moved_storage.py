"""A storage that was moved whole: every command works from its new place, and nothing is read at the old one."""

import json
from pathlib import Path

import pytest

from pipelines.case.load import load_case
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.resume import begun_case, begun_data_sets
from pipelines.use.model import load_model
from tests.commands import kindred_here
from tests.pipelines.one_worker import run_here

SETTINGS = ["training.steps=2", "training.seeds=[0]", "evaluation.replicates=5", "training.device=cpu"]


@pytest.fixture(scope="module", params=["below", "named"])
def moved(request, ray_local, tmp_path_factory):
    """A finished experiment's settings, name and storage, after the move; blocks in a folder of their own once."""
    before = tmp_path_factory.mktemp("moved") / "before"
    named = [] if request.param == "below" else ["storage.blocks={}/arrow"]
    case = load_case("digits", [*SETTINGS, f"storage.path={before}", *(one.format(before) for one in named)])
    run_here(case)
    after = before.rename(before.parent / "after")
    settings = [*SETTINGS, f"storage.path={after}", *(one.format(after) for one in named)]
    yield [word for setting in settings for word in ("--set", setting)], Path(experiment_folder(case)).name, after
    assert not before.exists(), "nothing is written at the old place"


def run_kindred(*words):
    done = kindred_here(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_train_finds_all_done_and_its_blocks(moved):
    settings, name, after = moved
    assert json.loads(run_kindred("train", "digits", "--json", *settings)) == {
        "trained": 0,
        "experiment": str(after / name),
    }


@pytest.mark.parametrize("by", ["case", "folder"])
def test_evaluate_report_export_and_predict(moved, by, tmp_path):
    settings, name, after = moved
    which = ["digits", *settings] if by == "case" else [str(after / name)]
    scores = json.loads((after / name / "results.json").read_text())["arms"]
    (after / name / "results.json").unlink()
    run_kindred("evaluate", *which, "--json")
    assert json.loads((after / name / "results.json").read_text())["arms"] == scores
    assert run_kindred("report", *which).strip() == str(after / name / "report.html")
    out = run_kindred("export", which[0], str(tmp_path / "out"), *which[1:]).strip()
    pictures = [str(file) for file in sorted((after / "sources").rglob("*.png"))[:3]]
    said = load_model(out).predict(pictures)["digit"].tolist()
    assert load_model(str(after / name)).predict(pictures)["digit"].tolist() == said
    assert len(said) == 3


def test_the_blocks_of_an_experiment_are_those_of_the_new_place(moved):
    _, name, after = moved
    case = begun_case(str(after / name))
    folders = begun_data_sets(case).folders.values()
    assert all(Path(folder).is_dir() and Path(folder).is_relative_to(after) for folder in folders)
