"""Code that a storage or an export names is not imported unless that is asked for; what a case file names is."""

import gc
import importlib
import pkgutil
import sys

import pytest
import yaml

import mtlcore
import pipelines
from mtlcore.registry import Registry
from pipelines.base.errors import UserError
from pipelines.case.load import as_yaml, load_case
from pipelines.case.named_code import PLACES, named_code
from pipelines.experiment.resume import begun_case
from pipelines.search.records import TrialRecord
from pipelines.search.tune import space_of
from pipelines.use.find_model import find_model
from pipelines.use.model import load_model
from tests.commands import kindred_here
from tests.pipelines.search.simulated import Events, search_of, simulated_case, work

CODE = "planted_code:thing"


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module that leaves a mark when it is imported, where Python finds it."""
    (tmp_path / "planted_code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nthing = None\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "ran"
    sys.modules.pop("planted_code", None)


def put(content, place, value):
    """Write a value at a dotted place; ``*`` is a key that is there, or a new one."""
    key, _, rest = place.partition(".")
    if isinstance(content, list):
        content[0:1] = [value]
        return
    key = next(iter(content), "own") if key == "*" else key
    if not rest:
        content[key] = value
        return
    if not isinstance(content.get(key), dict | list):
        content[key] = [] if rest == "*" and key == "add" else {}
    put(content[key], rest, value)


def experiment(folder, place=None):
    content = yaml.safe_load(as_yaml(load_case("digits")))
    if place:
        content["evaluation"]["metrics"] = {"digit": {}}
        put(content, place, CODE)
    folder.mkdir(parents=True)
    (folder / "case.yaml").write_text(yaml.safe_dump(content))
    return str(folder)


@pytest.mark.parametrize("place", [place for places in PLACES.values() for place in places])
def test_nothing_that_a_storages_case_names_is_imported_unasked(place, tmp_path, planted):
    folder = experiment(tmp_path / "digits-0123456789ab", place)
    with pytest.raises(UserError, match=rf"case\.yaml: found code that would be .*{CODE}.*--run-code.*run_code=True"):
        begun_case(folder)
    assert not planted.exists()


def test_every_kind_of_object_that_a_case_may_name_has_its_places():
    for package in (mtlcore, pipelines):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    groups = {one.group for one in gc.get_objects() if isinstance(one, Registry) and one.group.startswith("kindred.")}
    assert groups - {"kindred.functions", "kindred.things"} == set(PLACES)  # those two are of examples and tests


def test_what_runs_nobodys_code_is_asked_about_by_nobody(tmp_path):
    folder = experiment(tmp_path / "digits-0123456789ab")
    assert begun_case(folder).name == "digits"
    content = {"network": {"backbone": "timm:resnet18"}, "tasks": {"a:b": {"classes": ["c:d"]}}}
    assert named_code(content) == []
    assert named_code({"training": {"optimizer": {"name": "torch.optim:NAdam"}}}) == []
    assert named_code({"training": {"optimizer": {"name": "torch.optim:lr_scheduler.os.abort"}}})


@pytest.mark.parametrize(
    "command",
    [
        ("resume", "STORE"),
        ("evaluate", "STORE"),
        ("report", "STORE"),
        ("export", "STORE", "out"),
        ("predict", "STORE", "some.csv", "--out", "out.csv"),
        ("serve", "STORE"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_of_an_experiments_folder_asks_and_goes_on_where_it_is_told_to(
    command, tmp_path, planted, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = experiment(tmp_path / "digits-0123456789ab", "training.schedule.kind")
    words = [folder if word == "STORE" else word for word in command]
    asked = kindred_here(*words)
    assert asked.returncode == 2
    assert CODE in asked.stderr
    assert "--run-code" in asked.stderr
    assert not planted.exists()
    if command[0] != "serve":
        assert kindred_here(*words, "--run-code").returncode == 2  # the module's thing is no schedule
        assert planted.exists()


def test_a_model_asks_in_python_too(tmp_path, planted):
    folder = experiment(tmp_path / "digits-0123456789ab", "network.backbone")
    with pytest.raises(UserError, match="run_code=True"):
        load_model(folder)
    assert not planted.exists()


def test_a_trial_with_settings_that_its_search_does_not_draw_is_made_again(tmp_path, planted):
    case = simulated_case()
    search = search_of(case, tmp_path / "search")
    work(search, Events(), workers=1)
    before = {of.number: of.score for of in search.read_trials()}
    best = max(search.store.read_trials(), key=lambda of: of.score or 0)
    store = search.store
    for number, settings in (
        (7, {"network.backbone": CODE}),
        (8, {"training.matching.dm.weight": CODE}),
        (9, {"training.optimizer.lr": CODE}),
    ):
        store.write_trial(TrialRecord(number, settings, "finished", 2.0, best.scores, best.metrics, 3, best.by_seed))
    again = search_of(case, tmp_path / "search")
    assert {of.number for of in again.read_trials()} == set(before) - {7, 8, 9}
    assert not any(CODE in of.settings.values() for of in again.records.values())
    assert space_of(case)["training.matching.dm.weight"].may_hold(0.1)
    work(again, Events(), workers=1)
    assert len(search_of(case, tmp_path / "search").read_trials()) == len(before)


def test_an_exports_code_is_asked_about_before_anything_starts(tmp_path, planted):
    from mtlcore import Multiclass, build_multi_task_network
    from mtlcore.exported import Description, ExportedNetwork, ExportedTask, save_exported

    network = build_multi_task_network((4,), [Multiclass("kind", ("a", "b"))], backbone="mlp", widths=(8,))
    described = Description(
        case="toy", arm="co-trained", seed=0, input={"kind": "vector", "size": 4, "mean": 0.0, "std": 1.0},
        tasks={"kind": ExportedTask("multiclass", ("a", "b"), temperature=2.0)},
        networks=(ExportedNetwork("", ("kind",), ("kind",)),), network={"backbone": CODE},
    )  # fmt: skip
    save_exported(tmp_path / "model", described, [network])
    with pytest.raises(UserError, match=rf"network\.json: .*network\.backbone '{CODE}'.*--run-code"):
        find_model(str(tmp_path / "model"))
    assert find_model(str(tmp_path / "model"), run_code=True)
    assert not planted.exists()
