"""What is exported predicts what the run predicts, without its auxiliary tasks, and without unpickling."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mtlcore import Multiclass
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.case.build import build_network
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate, predict_runs
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import WEIGHTS, list_runs, write_record
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.results_table import results_table
from pipelines.use.export import export_run, load_exported
from tests.commands import kindred_here
from tests.pipelines.one_worker import train_here

VIT = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, patch_size: 4}"
AUXILIARY = "tasks.traits.auxiliary=true"


def backbone(input_shape, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width)), width


ENDED = {
    "seconds": 1.0,
    "waited_for_data_s": 0.0,
    "workers": 1,
    "steps": 1,
    "validation_s": 0.0,
    "best": None,
    "events": [],
}


@pytest.fixture
def case_of(ray_local, digits_store):
    """A case whose runs are there: with parameters as they are drawn, which is all that an export looks at."""

    def load(*overrides):
        settings = ["training.seeds=[3]", "training.steps=1", "evaluation.replicates=5"]
        case = load_case("digits", [f"storage.path={digits_store}", *settings, *overrides])
        ingest(case)
        for run in list_runs(case):
            folder = Path(run.folder(experiment_folder(case)))
            folder.mkdir(parents=True, exist_ok=True)
            weights = build_network(case, list(run.tasks), run.seed).state_dict()
            safetensors.torch.save_file(weights, folder / WEIGHTS)
            write_record(
                str(folder), run, ingested(case), {"seconds": 1.0, "waited_for_data_s": 0.0, "workers": 1} | ENDED
            )
        return case

    return load


@pytest.mark.parametrize(
    "network",
    [
        "{backbone: mlp, widths: [16], head: {hidden: [8]}}",
        "{backbone: small_cnn, widths: [8], sharing: cross_stitch}",
        "{backbone: resnet_small, widths: [8], sharing: mmoe}",
        f"{{backbone: 'hf:vit', options: {VIT}, sharing: {{kind: ple, expert_widths: [8]}}}}",
    ],
)
def test_an_exported_network_predicts_what_the_run_predicts(case_of, tmp_path, network):
    case = case_of(AUXILIARY, f"network={network}")
    run = next(run for run in list_runs(case) if run.arm == "co-trained")
    expected = predict_runs(case, [run], ingested(case), experiment_folder(case), "test")[run]["digit"]
    folder = export_run(case, ingested(case), "co-trained", None, None, tmp_path / "out")

    loaded = load_exported(folder)
    reader = next(iter(open_readers(case, ingested(case), "test").values()))
    inputs = torch.from_numpy(reader.gather(range(len(reader))).inputs)
    predicted = loaded.predict(inputs)
    assert list(predicted) == ["digit"]
    torch.testing.assert_close(predicted["digit"], expected)
    assert loaded.tasks == {"digit": Multiclass("digit", tuple("0123456789"))}
    with pytest.raises(ValueError, match="uint8 of shape"):
        loaded.predict(inputs.float())


def test_nothing_of_an_auxiliary_task_is_in_the_folder(case_of, tmp_path):
    case = case_of(AUXILIARY, "network.sharing=cgc")
    folder = export_run(case, ingested(case), "co-trained", 3, None, tmp_path / "out")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    assert any("digit_experts" in name for name in weights)
    assert not any("traits" in name for name in weights)
    described = json.loads((folder / "network.json").read_text())
    assert list(described["tasks"]) == ["digit"]
    assert described["run"] == "co-trained/seed-3"
    assert sorted(file.name for file in folder.iterdir()) == ["model.safetensors", "network.json"]


def test_an_auxiliary_task_is_reported_and_takes_no_part_in_the_mean_gain(case_of, tmp_path):
    settings = [f"storage.path={tmp_path}", "training.seeds=[3]", "training.steps=40", "evaluation.replicates=20"]
    trained = load_case("digits", [*settings, AUXILIARY])  # a baseline at chance would have no mean gain
    ingest(trained)
    train_here(trained)
    results = evaluate(trained, ingested(trained))
    assert results.auxiliary == ["traits"]
    arm, baseline = results.arms["co-trained"], results.arms["single-task"]
    gain = arm["digit"].mean() / baseline["digit"].mean() - 1
    assert results.delta_m["co-trained"] == pytest.approx(gain)
    assert arm["traits"].difference is not None
    assert "traits (auxiliary)" in results_table(results)
    case = case_of("tasks.digit.auxiliary=true", "evaluation.main_task=null")
    other = evaluate(case, ingested(case))
    assert other.main_task == "traits", "the main task is for use"


def test_being_auxiliary_asks_for_no_other_blocks(case_of):
    assert ingested(case_of(AUXILIARY)).folders == ingested(case_of()).folders


def test_a_run_that_is_not_there_and_a_folder_of_something_else_are_refused(case_of, tmp_path):
    case = case_of(AUXILIARY)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for arm, seed, task, out, words in [
        ("co-traind", None, None, "out", "--arm: found 'co-traind', no such arm.*did you mean 'co-trained'"),
        ("naive", 4, None, "out", "--seed: found 4; expected one of 3"),
        ("naive", None, "digit", "out", "--task: found 'digit', and the arm 'naive' has one network for all"),
        ("single-task", None, None, "out", "--task: missing; .* a network for every task; expected one of digit"),
        ("single-task", None, "traits", "out", "--task: found 'traits'"),
        ("naive", None, None, "full", "OUT: found .* no export"),
    ]:
        with pytest.raises(UserError, match=words):
            export_run(case, ingested(case), arm, seed, task, tmp_path / out)
    assert not (tmp_path / "out").exists()
    (Path(list_runs(case)[0].folder(experiment_folder(case))) / "run.json").unlink()
    with pytest.raises(UserError, match="are not trained"):
        export_run(case, ingested(case), "single-task", None, "digit", tmp_path / "out")


def test_a_folder_that_is_no_export_is_told_and_somebodys_code_is_run_only_where_it_is_said_so(case_of, tmp_path):
    case = case_of(f"network={{backbone: '{__name__}:backbone', options: {{width: 4}}}}")
    folder = export_run(case, ingested(case), "single-task", None, "traits", tmp_path / "out")
    with pytest.raises(UserError, match="run_code=True"):
        load_exported(folder)
    assert list(load_exported(folder, run_code=True).tasks) == ["traits"]
    with pytest.raises(UserError, match="no such file"):
        load_exported(tmp_path)
    (folder / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(UserError, match="not what `kindred export` writes"):
        load_exported(folder, run_code=True)
    (folder / "network.json").write_text("{}")
    with pytest.raises(UserError, match="not what `kindred export` writes"):
        load_exported(folder)


def test_the_command_writes_the_folder_and_exits_2_for_a_wrong_arm(case_of, digits_store, tmp_path):
    settings = ["training.seeds=[3]", "training.steps=1", "evaluation.replicates=5", f"storage.path={digits_store}"]
    case_of()
    given = [part for setting in settings for part in ("--set", setting)]
    done = kindred_here("export", "digits", str(tmp_path / "out"), "--seed", "3", "--json", *given)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"exported": str(tmp_path / "out")}
    assert list(load_exported(tmp_path / "out").tasks) == ["digit", "traits"]
    wrong = kindred_here("export", "digits", str(tmp_path / "out"), "--arm", "nave", *given)
    assert wrong.returncode == 2
    assert "did you mean 'naive'" in wrong.stderr
