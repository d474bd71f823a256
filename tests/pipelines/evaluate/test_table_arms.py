"""Baselines that need no co-training: they train nothing of their own, are right, and are what has to be beaten."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from PIL import Image

from mtlcore import FusionWeights, fuse_log_linear, read_classes, table_evidence
from pipelines.base.errors import UserError
from pipelines.base.storage import join
from pipelines.batches.batch import class_priors, open_readers
from pipelines.batches.coverage import coverage_notes, unseen_classes
from pipelines.blocks.datasets import write_data_sets
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.evaluate.predict_split import predict_runs
from pipelines.experiment.layout import DATA_SETS, experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.report import write_report
from pipelines.report.results_table import results_table
from tests.pipelines.one_worker import train_here

SHORT = ["training.steps=120", "training.seeds=[0, 1]", "evaluation.replicates=50", "network.widths=[64]"]
TRAINED = ["single-task", "naive", "co-trained"]


@pytest.fixture
def case_of(ray_local, digits_store):
    def load(*overrides):
        case = load_case("digits", [f"storage.path={digits_store}", *SHORT, *overrides])
        ingest(case)
        return case

    return load


@pytest.fixture(scope="module")
def evaluated(ray_local, digits_store):
    case = load_case("digits", [f"storage.path={digits_store}", *SHORT])
    ingest(case)
    train_here(case)
    return case, evaluate(case, ingested(case))


def test_a_case_without_arms_gets_them_and_they_share_the_networks_of_others(evaluated):
    case, results = evaluated
    assert list(results.arms) == ["single-task", "table", "single-task-fused", "naive", "naive-fused", "co-trained"]
    assert results.baselines == list(results.arms)[:5]
    assert list(dict.fromkeys(run.arm for run in list_runs(case))) == TRAINED
    assert len(results.timings) == len(list_runs(case)) == 2 * 4


def test_another_way_to_predict_makes_no_other_experiment_and_another_way_to_train_does(case_of):
    three = "arms={single-task: {networks: one_per_task}, naive: {matching: none}, co-trained: {}}"
    case, alone = case_of(), case_of(three)
    assert experiment_folder(case) == experiment_folder(alone)
    assert experiment_folder(case) != experiment_folder(case_of("arms.single-task.batch=shared"))


def test_the_predictions_are_those_of_the_methods_own_functions(evaluated):
    """The digit of `table` and `single-task-fused` from the logits of the two single-task networks, by hand."""
    case, results = evaluated
    data, tasks = ingested(case), tasks_of(case)
    runs = [run for run in list_runs(case) if run.arm == "single-task" and run.seed == 1]
    logits = predict_runs(case, runs, data, experiment_folder(case), "test")
    z = {task: of_task for of_run in logits.values() for task, of_task in of_run.items()}
    priors = class_priors(case, open_readers(case, data, "train"))
    prior = torch.tensor(priors["digit"], dtype=torch.float64)
    e = table_evidence(z["traits"], relatedness_of(case.relatedness[0], tasks), torch.tensor(priors["traits"]).double())
    y = torch.from_numpy(open_readers(case, data, "test")["test_pictures"].labels("digit"))
    for arm in ("table", "single-task-fused"):
        by = results.fusion[arm]["digit"]
        assert by.chosen_on == "validation"
        weights = FusionWeights(by.head[1], by.table[1], by.alone[1])
        scores = fuse_log_linear(z["digit"], e, prior, weights) if by.head[1] else read_classes(e, prior, weights.alone)
        expected = float((scores.argmax(dim=1) == y).double().mean())
        assert results.arms[arm]["digit"].metrics["accuracy"][1] == pytest.approx(expected)


def test_reading_the_table_helps_the_digit_leaves_the_traits_alone_and_is_what_has_to_be_beaten(evaluated):
    case, results = evaluated
    single, fused = results.arms["single-task"], results.arms["single-task-fused"]
    assert fused["digit"].mean() > single["digit"].mean() + 0.05
    assert fused["traits"].metrics == single["traits"].metrics
    against = results.arms["co-trained"]["digit"].against_best
    best = max(results.baselines, key=lambda arm: results.arms[arm]["digit"].mean())
    assert against.baseline == best != "single-task"
    gained = results.arms["co-trained"]["digit"].mean() - results.arms[best]["digit"].mean()
    assert against.difference.value == pytest.approx(gained, abs=1e-6)
    assert against.verdict == against.difference.verdict
    assert results.arms["naive"]["digit"].against_best is None
    assert f"to {best}: {against.verdict}" in " ".join(results_table(results).split())
    page = Path(write_report(case, results)).read_text()
    assert 'id="verdicts"' in page
    assert f">{best}</td>" in page


def test_the_page_shows_the_images_that_one_arm_alone_gets_right(evaluated):
    case, results = evaluated
    said = pq.read_table(Path(experiment_folder(case)) / "predictions.parquet").to_pandas()
    said = said[said.task == "digit"].assign(right=lambda rows: rows.truth == rows.prediction)
    share = said.groupby(["id", "arm"], observed=True).right.mean().unstack()
    write_data_sets(join(experiment_folder(case), DATA_SETS), ingested(case))
    page = Path(write_report(case, results)).read_text()
    for one, other in (("co-trained", "single-task"), ("single-task", "co-trained")):
        alone = share[(share[one] > 0.5) & (share[other] < 0.5)]
        (block,) = re.findall(
            rf"(?s)digit: {one} right, {other} wrong: {len(alone)} of {len(share)}</h3>\s*(.*?)<h[23]", page
        )
        shown = re.findall(r'<li title="(.*?)"><img src="data:image/png;base64,(.*?)"', block)
        assert len(shown) == min(len(alone), 12)
        gap = (alone[one] - alone[other]).sort_values(ascending=False)
        assert {gap[name] for name, _ in shown} == set(gap[: len(shown)])
    reader = open_readers(case, ingested(case), "test")["test_pictures"]
    for name, encoded in shown:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
        assert (pixels == reader.gather(np.array([reader.ids.index(name)])).inputs[0, 0]).all()


def test_without_validation_labels_the_weights_are_the_stated_defaults(case_of):
    case = case_of("arms={single-task: {networks: one_per_task}, fused: {networks: one_per_task, fuse: table}}",
                   "training.steps=2", "training.mixing=uniform",
                   "datasets.validation_pictures.split=train")  # fmt: skip
    train_here(case)
    by = evaluate(case, ingested(case)).fusion["fused"]["digit"]
    default = FusionWeights()
    assert (by.head, by.table, by.chosen_on) == ([default.head] * 2, [default.table] * 2, "default")


def test_a_baseline_at_chance_is_marked_and_nothing_is_compared_with_it(case_of):
    case = case_of("arms={single-task: {networks: one_per_task}, co-trained: {}}", "training.steps=1",
                   "training.optimizer.lr=1e-9")  # fmt: skip
    train_here(case)
    results = evaluate(case, ingested(case))
    assert results.arms["single-task"]["digit"].at_chance
    assert results.arms["co-trained"]["digit"].difference is None
    assert results.arms["co-trained"]["digit"].against_best is None
    assert set(results.delta_m.values()) == set(results.delta_m_difference.values()) == {None}
    assert "(chance)" in results_table(results)
    assert "nothing is compared with it: single-task on digit" in results_table(results)


def test_digits_that_no_picture_is_labelled_with_are_announced_and_told_by_their_traits(ray_local, tmp_path):
    """Zero-shot: 2 and 8 stand in no label of a digit, only in the table."""
    case = load_case("digits", [f"storage.path={tmp_path}/store", *SHORT, "training.seeds=[0]"])
    ingest(case)  # writes the images
    root = tmp_path / "store" / "sources" / "digits"
    for name in ("2", "8"):
        folder = next(path for path in root.rglob(name) if path.is_dir())
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    case = load_case("digits", [f"storage.path={tmp_path}/store", f"storage.blocks={tmp_path}/blocks", *SHORT,
                                "training.seeds=[0]", "embedded=null", f"data_root={root}"])  # fmt: skip
    ingest(case)
    data = ingested(case)
    assert unseen_classes(case, data) == {"digit": ("2", "8")}
    (told,) = [note for note in coverage_notes(case, data) if "without a labelled" in note]
    assert "2 classes without a labelled training input (2, 8); only the relatedness tells them" in told
    train_here(case)
    results = evaluate(case, data)
    assert results.unseen_classes == {"digit": ["2", "8"]}
    recall = {arm: np.mean(of_arm["digit"].unseen_recall) for arm, of_arm in results.arms.items()}
    assert recall["single-task"] == recall["naive"] == 0
    assert min(recall["table"], recall["single-task-fused"], recall["naive-fused"]) > 0.3
    assert "digit, 2 classes without a labelled training input, recall: single-task 0.000" in results_table(results)


def test_a_small_dataset_is_told_of_before_training_where_it_gets_next_to_nothing(case_of):
    case = case_of("training.mixing=proportional", "training.steps=10", "training.batch_size=64")
    notes = coverage_notes(case, ingested(case))
    told = "'digit_pictures' (50 rows) gets 3 rows of a batch of 64 and is gone through 0.6 times in 10 steps"
    assert any(told in note for note in notes), notes
    case = case_of("training.mixing=proportional", "training.batch_size=160")
    assert coverage_notes(case, ingested(case)) == [], "8 rows, 19 times"


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ("{a: {infer: table, fuse: table}}", "arms.a: found both 'infer: table' and 'fuse: table'"),
        ("{a: {infer: head}}", "arms.a.infer: found 'head'; expected one of 'heads' or 'table'"),
    ],
)
def test_arms_that_make_no_sense_are_told(tmp_path, arms, message):
    with pytest.raises(UserError, match=message):
        load_case("digits", [f"storage.path={tmp_path}", f"arms={arms}", "evaluation.baseline=a"])


def test_an_arm_that_reads_a_table_needs_one(tmp_path):
    settings = [f"storage.path={tmp_path}", "arms={a: {fuse: table}}", "evaluation.baseline=a", "relatedness=[]"]
    with pytest.raises(UserError, match=r"arms.a: reads a table, and no relatedness edge leads from a multiclass task"):
        load_case("digits", settings)


def test_co_trained_weights_start_no_single_task_network_unless_it_is_said(case_of, tmp_path):
    first = case_of("training.steps=1", "training.seeds=[0]")
    weights = {run.network: folder / "model.safetensors" for run, folder in train_here(first).items()}
    one = f"network.pretrained={weights['digit']}"
    assert case_of(one).network.pretrained, "weights of one task are a start like any other"
    shared = f"network.pretrained={weights['shared']}"
    with pytest.raises(UserError, match=r"arms.single-task.pretrained: missing; .* trained on digit, traits together"):
        case_of(shared)
    said = ["arms={single-task: {networks: one_per_task, pretrained: %s}, joint: {}}", "training.steps=1",
            "training.seeds=[0]", "training.optimizer.lr=1e-12", "training.optimizer.weight_decay=0"]  # fmt: skip
    start = {}
    for choice in ("true", "false"):
        case = case_of(shared, said[0] % choice, *said[1:])
        for run, folder in train_here(case).items():
            loaded = safetensors.torch.load_file(folder / "model.safetensors")
            start[choice, run.network] = next(value for key, value in loaded.items() if key.startswith("backbone."))
    torch.testing.assert_close(start["true", "digit"], start["true", "shared"])
    torch.testing.assert_close(start["false", "shared"], start["true", "shared"])
    assert not torch.allclose(start["false", "digit"], start["true", "digit"], atol=1e-3)
