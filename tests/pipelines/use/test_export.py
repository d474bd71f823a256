"""What is exported predicts what the run predicts, without its auxiliary tasks, and without unpickling."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mtlcore import Multiclass, load_exported
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.evaluate.forward import forward_in_batches
from pipelines.evaluate.predict_split import predict_runs
from pipelines.evaluate.table_arms import fusion_weights, open_readings, with_every_arm
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.results_table import results_table
from pipelines.use.choose import held_out_of
from pipelines.use.export import export_run
from pipelines.use.find_model import find_model
from pipelines.use.formats import run_onnx, run_program
from tests.commands import kindred_here
from tests.pipelines.one_worker import train_here

VIT = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, patch_size: 4}"
AUXILIARY = "tasks.traits.auxiliary=true"


def backbone(input_shape, width):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, width)), width


def inputs_of(case, split="test"):
    reader = next(iter(open_readers(case, ingested(case), split).values()))
    return torch.from_numpy(reader.gather(np.arange(len(reader))).inputs)


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
    inputs = inputs_of(case)
    predicted = forward_in_batches(loaded, inputs)
    assert list(predicted) == ["digit"]
    assert torch.equal(predicted["digit"], expected)
    few = loaded.predict(inputs[:5])["digit"]
    torch.testing.assert_close(few, (expected[:5] / loaded.description.tasks["digit"].temperature).softmax(dim=1))
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
    assert (described["arm"], described["seed"]) == ("co-trained", 3)
    assert {"model.safetensors", "network.json", "README.md"} <= {file.name for file in folder.iterdir()}


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
    with pytest.raises(ValueError, match="run_code=True"):
        load_exported(folder)
    assert list(load_exported(folder, run_code=True).tasks) == ["traits"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_exported(tmp_path)
    with pytest.raises(UserError, match="expected the folder of `kindred export`"):
        find_model(str(tmp_path))
    (folder / "model.safetensors").write_bytes(b"not at all")
    with pytest.raises(ValueError, match="not what `kindred export` writes"):
        load_exported(folder, run_code=True)
    for text, words in (
        ("{}", "format: found None"),
        ('{"format": 2, "seed": "x"}', "missing"),
        ("[" * 10**5, "nested"),
    ):
        (folder / "network.json").write_text(text)
        with pytest.raises(ValueError, match=words):
            load_exported(folder)


@pytest.mark.parametrize("arm", ["naive-fused", "single-task-fused", "table", "single-task"])
def test_an_arm_that_reads_a_table_or_has_several_networks_predicts_as_in_evaluation(case_of, tmp_path, arm):
    case = case_of(AUXILIARY)  # the table is read from the auxiliary task's prediction, which is no output
    expected = every_arm(case)[arm]
    loaded = load_exported(export_run(case, ingested(case), arm, None, None, tmp_path / "out"))
    assert list(loaded.tasks) == ["digit"]
    assert torch.equal(forward_in_batches(loaded, inputs_of(case))["digit"], expected["digit"])


def every_arm(case):
    """Return the test split's logits by arm and task, as evaluation has them, without Ray."""
    data_sets, runs, experiment = ingested(case), list_runs(case), experiment_folder(case)
    readings = open_readings(case, data_sets)
    held_out = predict_runs(case, runs, data_sets, experiment, "validation")
    weights = fusion_weights(case, held_out, data_sets, readings)
    predicted = with_every_arm(case, predict_runs(case, runs, data_sets, experiment, "test"), readings, weights)
    found = {}
    for run, logits in predicted.items():
        found.setdefault(run.arm, {}).update(logits)
    return found


def test_an_export_is_loaded_with_torch_and_mtlcore_alone(case_of, tmp_path):
    folder = export_run(case_of(), ingested(case_of()), "naive-fused", None, None, tmp_path / "out")
    code = f"""
import sys
sys.modules["pipelines"] = None
sys.modules["ray"] = None
sys.modules["pydantic"] = None
import torch
from mtlcore import load_exported
p = load_exported({str(folder)!r}).predict(torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
print([tuple(of.shape) for of in p.values()])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[(3, 10), (3, 6)]"
    example = subprocess.run([sys.executable, folder / "predict.py"], capture_output=True, text=True, check=False)
    assert example.stdout.startswith("digit ['"), example.stderr


@pytest.mark.parametrize(
    "network",
    [
        "{backbone: mlp, widths: [16]}",
        "{backbone: small_cnn, widths: [8], sharing: mmoe}",
        "{backbone: resnet_small, widths: [8], sharing: cross_stitch}",
    ],
)
@pytest.mark.parametrize("arm", ["co-trained", "naive-fused"])
def test_programs_say_what_the_network_says_for_any_size_of_a_batch(case_of, tmp_path, network, arm):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    if (arm == "naive-fused") == ("mlp" not in network):
        pytest.skip("one network is enough to see the tables in the program")
    case = case_of(f"network={network}")
    folder = export_run(case, ingested(case), arm, None, None, tmp_path / "out", formats=["onnx", "torch_export"])
    loaded = load_exported(folder)
    for n in (1, 7, 100):
        inputs = inputs_of(case)[:n]
        expected = loaded.predict(inputs)
        for run, file in ((run_onnx, "model.onnx"), (run_program, "model.pt2")):
            said = run((folder / file).read_bytes(), inputs)
            assert len(said) == len(expected)
            for of_task, right in zip(said, expected.values(), strict=True):
                np.testing.assert_allclose(of_task, right.numpy(), atol=1e-5)


def test_the_model_card_is_one_that_the_hub_takes_and_tells_what_is_known(case_of, tmp_path):
    from huggingface_hub import ModelCard

    case = case_of(AUXILIARY)
    results = evaluate(case, ingested(case))
    folder = export_run(case, ingested(case), "co-trained", None, None, tmp_path / "out", results=results)
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "pytorch"
    assert card.data.eval_results[0].metric_value == round(results.arms["co-trained"]["digit"].mean(), 4)
    text = card.text
    for words in (
        "## Limits",
        "digit_pictures | train | 50",
        "P(traits | digit)",
        "auxiliary tasks: traits",
        "load_exported",
    ):
        assert words in text, words
    assert str(tmp_path.parent) not in text + (folder / "case.yaml").read_text(), "no path of this machine"


def test_the_seed_is_the_best_on_the_validation_split_and_calibration_is_that_of_evaluation(case_of, tmp_path):
    case = case_of("training.seeds=[3,4]")
    results = evaluate(case, ingested(case))
    held_out = [held_out_of(case, ingested(case), "co-trained", seed) for seed in (3, 4)]
    means = [sum(of.scores.values()) / 2 for of in held_out]
    loaded = load_exported(export_run(case, ingested(case), "co-trained", None, None, tmp_path / "out"))
    best = means.index(max(means))
    assert loaded.description.seed == (3, 4)[best]
    fitted = results.arms["co-trained"]["traits"].calibration
    exported = loaded.description.tasks["traits"]
    assert exported.temperature == fitted.temperature[best]
    assert exported.thresholds == tuple(of_label[best] for of_label in fitted.thresholds.values())
    assert exported.calibrated_on == "validation"


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
