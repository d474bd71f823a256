"""A network that starts from an export: what it takes along, what stays frozen, and what the run is named by."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mtlcore import load_exported
from pipelines.base.errors import UserError
from pipelines.case.build import build_network
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.evaluate.predict_split import predict_runs
from pipelines.experiment.identity import identity
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import WEIGHTS, list_runs, read_record
from pipelines.ingest.ingest import ingest, ingested
from pipelines.use.export import export_run
from tests.pipelines.one_worker import train_here
from tests.two_workers import train_share

SHORT = ["training.steps=4", "training.batch_size=16", "training.seeds=[0]", "evaluation.replicates=5"]
JOINT = ["arms={joint: {}}", "evaluation.baseline=joint"]
NETWORK = "network={backbone: mlp, widths: [12, 8], head: {hidden: [6]}}"


@pytest.fixture(scope="module")
def store(ray_local, digits_store):
    ingest(load_case("digits", [f"storage.path={digits_store}"]))
    return digits_store


@pytest.fixture(scope="module")
def exported(store, tmp_path_factory):
    """The folder of a network that was trained for both tasks."""
    return export_of(store, tmp_path_factory.mktemp("exported") / "joint", *JOINT)


def export_of(store, folder, *settings, arm="joint", **kinds):
    case = load_case("digits", [f"storage.path={store}", *SHORT, NETWORK, *settings])
    train_here(case)
    return export_run(case, ingested(case), arm, kinds.get("seed"), kinds.get("task"), folder)


@pytest.fixture
def started(store, exported):
    """Load the digits case as one that starts from the export."""

    def load(*settings, start=None):
        network = f"network={{pretrained: {start or exported}}}"
        return load_case("digits", [f"storage.path={store}", *SHORT, network, *JOINT, *settings])

    return load


def weights_of(folder):
    return safetensors.torch.load_file(folder / WEIGHTS)


def backbone_of(weights):
    return {name: w for name, w in weights.items() if name.startswith("backbone.")}


def assert_equal(one, other):
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_network_and_scaling_come_along_and_it_begins_by_saying_what_the_export_says(started, exported):
    case, model = started(), load_exported(exported)
    assert (case.network.backbone, case.network.widths, case.network.head.hidden) == ("mlp", (12, 8), (6,))
    x = torch.randint(0, 17, (5, 1, 8, 8), dtype=torch.uint8)
    network = build_network(case, list(case.tasks), 0)
    expected = model(x)
    for name, z in network(model.scaling(x)).items():
        torch.testing.assert_close(z, expected[name])


def test_a_task_is_added_and_its_head_alone_is_drawn(started, store, tmp_path):
    one = ["arms={joint: {tasks: [digit], matching: none}}", "evaluation.baseline=joint"]
    theirs = weights_of(folder := export_of(store, tmp_path / "digit", *one))
    case = started(start=folder)
    seeds = [build_network(case, ["digit", "traits"], seed).state_dict() for seed in (0, 1)]
    for name, w in seeds[0].items():
        assert ("traits" not in name) == torch.equal(w, seeds[1][name]) == (name in theirs), name
        assert "traits" in name or torch.equal(w, theirs[name])


def test_a_frozen_backbone_keeps_its_bits_and_heads_learn(started, exported):
    case = started("network.freeze_steps=100", "training.optimizer.weight_decay=0.5", "training.clip_norm=0.1")
    ((run, folder),) = train_here(case).items()
    weights, theirs = weights_of(folder), weights_of(exported)
    assert_equal(backbone_of(weights), backbone_of(theirs))
    assert not any(torch.equal(w, theirs[name]) for name, w in weights.items() if name.startswith("heads."))
    record = read_record(str(folder))
    assert record["started_from"]["trained_on"] == ["digit", "traits"]
    assert record["events"][0]["what"].startswith("started from the export digits (joint, seed 0)")
    assert run.arm == "joint"


def test_freezing_is_the_same_in_pieces_and_on_two_workers(started, two_workers, exported, tmp_path):
    settings = ["network.freeze_steps=2", "network.layer_decay=0.5", "training.optimizer={name: sgd, lr: 0.1}"]
    ((run, alone),) = train_here(started(*settings)).items()
    train_here(started(*settings, "training.accumulate=3"), experiment=tmp_path / "pieces")
    shared = started(*settings, "training.workers=2")
    two_workers(train_share, shared, ingested(shared), str(tmp_path / "shared"))
    for name, w in weights_of(alone).items():
        assert not torch.equal(w, weights_of(exported)[name])
        for other in ("pieces", "shared"):
            found = weights_of(Path(run.folder(str(tmp_path / other))))[name]
            torch.testing.assert_close(found, w, rtol=1e-4, atol=1e-5)


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("stop", [2, 4])
def test_a_run_that_stops_frozen_or_free_resumes_to_the_bit(started, tmp_path, stop):
    case = started(
        "network.freeze_steps=3", "network.layer_decay=0.7", "training.steps=6", "training.checkpoints.every_steps=1",
        "logging.every=1",
    )  # fmt: skip
    (run,) = list_runs(case)
    expected = weights_of(train_here(case, experiment=tmp_path / "whole")[run])

    def stops(metrics):
        if metrics.step >= stop:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        train_here(case, on_progress=stops, experiment=tmp_path / "stopped")
    folder = Path(run.folder(str(tmp_path / "stopped")))
    assert [*(folder / "checkpoints").iterdir()], "it stopped after a checkpoint"
    assert_equal(weights_of(train_here(case, experiment=tmp_path / "stopped")[run]), expected)
    assert any("resumed" in event["what"] for event in read_record(str(folder))["events"])


def test_a_layer_learns_by_its_depth(started, exported):
    one_step = ["training.steps=1", "training.optimizer={name: sgd, lr: 0.5, momentum: 0, weight_decay: 0}",
                "training.schedule=constant"]  # fmt: skip
    before = weights_of(exported)

    def moved(*settings):
        ((_, folder),) = train_here(started(*one_step, *settings)).items()
        return {name: w - before[name] for name, w in weights_of(folder).items()}

    full, decayed = moved(), moved("network.layer_decay=0.5")
    for name, step in full.items():
        scale = {"backbone.1": 0.25, "backbone.3": 0.5}.get(name.rpartition(".")[0], 1.0)
        torch.testing.assert_close(decayed[name], scale * step, rtol=1e-3, atol=1e-7, msg=name)


def test_weights_name_the_run_wherever_they_lie(started, store, exported, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "moved")
    case, elsewhere = started(), started(start=moved)
    (run,) = list_runs(case)
    assert experiment_folder(case) == experiment_folder(elsewhere)
    assert identity(case, run) == identity(elsewhere, run)
    weights = weights_of(moved)
    safetensors.torch.save_file({name: w + 1 for name, w in weights.items()}, moved / WEIGHTS)
    other = started(start=moved)
    assert experiment_folder(other) != experiment_folder(case)
    assert identity(other, run).settings != identity(case, run).settings
    named = f"network.pretrained_sha256={case.network.pretrained_sha256}"
    with pytest.raises(UserError, match=r"network.pretrained_sha256: found .* expected the weights that it names"):
        started(named, start=moved)
    with pytest.raises(ValueError, match=r"pretrained: .* found other weights"):
        build_network(elsewhere, list(case.tasks), 0)


def test_a_trained_run_is_evaluated_and_exported_without_the_export_and_says_its_ancestors(started, exported, tmp_path):
    moved = shutil.copytree(exported, tmp_path / "moved")
    case = started("training.steps=3", start=moved)
    ((run, _),) = train_here(case).items()
    shutil.rmtree(moved)
    predict_runs(case, [run], ingested(case), experiment_folder(case), "test")
    assert evaluate(case, ingested(case)).arms["joint"]
    again = export_run(case, ingested(case), "joint", None, None, tmp_path / "again")
    kept = json.loads((again / "network.json").read_text())["provenance"]["started_from"]
    assert kept["trained_on"] == ["digit", "traits"]
    assert kept["sha256"] == case.network.pretrained_sha256
    assert "digits (joint, seed 0)" in (again / "README.md").read_text()


def test_co_trained_weights_start_no_single_task_network(store, exported, tmp_path, capsys):
    network = f"network={{pretrained: {exported}}}"
    by_default = load_case("digits", [f"storage.path={store}", *SHORT, network, "arms=null"])
    alone = {name for name, arm in by_default.arms.items() if arm.networks == "one_per_task"}
    assert alone
    assert all(by_default.for_arm(name).network.pretrained is None for name in alone)
    assert "start from drawn weights" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"arms.single.pretrained: missing; .* trained on digit, traits together"):
        load_case("digits", [f"storage.path={store}", *SHORT, network, "arms={single: {networks: one_per_task}}",
                             "evaluation.baseline=single"])  # fmt: skip
    # Nor by a detour: a network of one task that was started from them.
    tuned = f"arms={{tuned: {{tasks: [digit], matching: none, network: {{pretrained: {exported}}}}}}}"
    detour = export_of(store, tmp_path / "detour", tuned, "evaluation.baseline=tuned", arm="tuned")
    with pytest.raises(UserError, match=r"arms.single.pretrained: missing; .* trained on digit, traits together"):
        load_case("digits", [f"storage.path={store}", *SHORT, f"network={{pretrained: {detour}}}",
                             "arms={single: {networks: one_per_task}}", "evaluation.baseline=single"])  # fmt: skip


def test_networks_of_one_task_start_each_from_its_own(store, tmp_path):
    single = ["arms={single: {networks: one_per_task}}", "evaluation.baseline=single"]
    folder = export_of(store, tmp_path / "single", *single, arm="single")
    settings = [f"storage.path={store}", *SHORT, f"network={{pretrained: {folder}, freeze_steps: 9}}"]
    case = load_case("digits", [*settings, *single])
    theirs = weights_of(folder)
    for run, runs_folder in train_here(case).items():
        for name, w in backbone_of(weights_of(runs_folder)).items():
            assert torch.equal(w, theirs[f"{run.network}.{name}"])
    with pytest.raises(UserError, match=r"network.pretrained: .* a network for each of digit, traits"):
        load_case("digits", [*settings, *JOINT])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["network.widths=[12]"], r"network.pretrained: .* does not fit the backbone: 2 unexpected: 3.bias, 3.weight"),
        (["network.head={hidden: []}"], r"network.pretrained: .* does not fit the head of 'digit'"),
        (["tasks.digit.classes=[a, b, zero, three, four, five, six, seven, eight, nine]", "relatedness=[]"],
         r"network.pretrained: the task 'digit' has outputs .* or another name for the task"),
        (["network.freeze_steps=5", "network.pretrained=null"], "network.freeze_steps: found 5; expected network.pre"),
        (["network.layer_decay=0"], "network.layer_decay: found 0"),
        (["network.layer_decay=0.5", "network.sharing=mmoe"], "network.layer_decay: found 0.5 with sharing 'mmoe'"),
        (["network.pretrained=./nowhere"], "network.pretrained: found .*expected the folder of an export"),
        (["network.freeze=5"], "network: unknown key 'freeze'; .*freeze_steps"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_at_the_door(started, settings, message):
    with pytest.raises(UserError, match=message):
        started(*settings)
