"""Tasks that are numbers or ranks, from a table to the report and to a network for use, beside a multiclass task."""

import json
import runpy
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from mtlcore import load_exported, predicted_numbers, predicted_spread, task_metrics
from pipelines.base.errors import UserError
from pipelines.batches.measured_labels import with_measured_labels
from pipelines.case.build import build_network, tasks_of
from pipelines.case.load import load_case
from pipelines.evaluate.evaluate import evaluate
from pipelines.experiment.layout import experiment_folder
from pipelines.ingest.ingest import ingest, ingested
from pipelines.report.report import write_report
from pipelines.report.results_table import results_table
from pipelines.use.export import export_run
from pipelines.use.model import Model, load_model
from tests.pipelines.one_worker import train_here

TASKS = {
    "age": {"kind": "regression"},
    "affect": {"kind": "regression", "outputs": ["valence", "arousal"], "loss": "gaussian"},
    "group": {"kind": "multiclass", "classes": ["young", "middle", "old"]},
    "pain": {"kind": "ordinal", "classes": ["0", "1", "2", "3"], "loss": "cumulative"},
}


def column(name, **more):
    return {"from": "column", "column": name} | more


def labels(*tasks):
    rules = {"group": column("age", bins=[35, 45]), "pain": column("pain"), "affect": column("affect")}
    return {task: rules.get(task, column(task)) for task in tasks}


def write_case(folder, **sections):
    draw = np.random.Generator(np.random.PCG64(0))
    weights = draw.normal(size=(5, 3))
    for name, rows in (("some", 200), ("others", 160), ("check", 80), ("test", 200)):
        x = draw.normal(size=(rows, 5)).astype(np.float32)
        hidden = np.tanh(x @ weights)
        affect = hidden[:, :2] + 0.1 * draw.normal(size=(rows, 2))
        affect[draw.random(rows) < 0.2, 1] = np.nan
        age = 40 + 8 * hidden[:, 0] + draw.normal(size=rows)
        pain = np.digitize(hidden[:, 2], [-0.5, 0, 0.5])
        np.savez(folder / f"{name}.npz", x=x, age=age, affect=affect, pain=pain)
    given = {
        "name": "numbers",
        "input": {"kind": "vector", "size": 5},
        "tasks": TASKS,
        "datasets": {
            name: {"source": {"kind": "numpy", "path": f"{name}.npz"}, "labels": labels(*tasks), "split": split}
            for name, tasks, split in (
                ("some", ["age", "pain"], "train"),
                ("others", ["affect", "group"], "train"),
                ("check", TASKS, "validation"),
                ("test", TASKS, "test"),
            )
        },
        "network": {"backbone": "mlp", "widths": [24]},
        "training": {
            "steps": 60,
            "batch_size": 48,
            "optimizer": {"lr": 0.02},
            "validation": {"every_steps": 20},
            "best": "mean",
            "balancing": "dwa",
        },
        "arms": {"single-task": {"networks": "one_per_task"}, "naive": {"matching": "none"}},
        "evaluation": {"replicates": 50, "metrics": {"affect": {"primary": "ccc"}}},
        "storage": {"path": str(folder / "store")},
    } | sections
    file = folder / "case.yaml"
    file.write_text(yaml.safe_dump(given, sort_keys=False))
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory, ray_local):
    folder = tmp_path_factory.mktemp("numbers")
    case = load_case(str(write_case(folder)))
    ingest(case)
    data_sets = ingested(case)
    case = with_measured_labels(case, data_sets)
    train_here(case)
    return case, data_sets, evaluate(case, data_sets), folder


def test_numbers_are_standardised_by_the_training_rows_alone(finished):
    case, _, _, folder = finished
    age = np.load(folder / "some.npz")["age"].astype(np.float32)
    task = tasks_of(case)["age"]
    assert task.mean == pytest.approx([age.mean()])
    assert task.spread == pytest.approx([age.std()])
    affect = np.load(folder / "others.npz")["affect"]
    assert tasks_of(case)["affect"].spread == pytest.approx(np.nanstd(affect, axis=0), rel=1e-5)


def test_every_kind_is_scored_in_its_own_metric_and_better_than_chance(finished):
    _, _, results, _ = finished
    of_arm = results.arms["single-task"]
    assert [of_arm[task].primary_metric for task in TASKS] == ["rmse", "ccc", "accuracy", "mae"]
    assert [of_arm[task].lower_is_better for task in TASKS] == [True, False, False, True]
    assert not any(result.at_chance for result in of_arm.values())
    assert of_arm["age"].mean() < 6, "the deviation of ages is about 6.5 years"
    assert set(of_arm["age"].metrics) == {"rmse", "mae", "r2", "ccc"}
    assert set(of_arm["pain"].metrics) == {"mae", "quadratic_kappa", "accuracy"}


def test_the_verdict_and_delta_m_know_that_an_error_is_better_when_lower(finished):
    _, _, results, _ = finished
    gained = results.arms["naive"]["age"].difference
    assert gained.lower_is_better
    worse = gained.model_copy(update={"value": 1.0, "low": 0.5, "high": 1.5})
    assert worse.verdict == "worse"
    of = {arm: {task: result.mean() for task, result in by.items()} for arm, by in results.arms.items()}
    signs = {"age": -1, "affect": 1, "group": 1, "pain": -1}
    gains = [sign * (of["naive"][t] / of["single-task"][t] - 1) for t, sign in signs.items()]
    assert results.delta_m["naive"] == pytest.approx(np.mean(gains))


def test_report_and_table_write_errors_in_the_labels_unit(finished):
    case, _, results, _ = finished
    row = next(line for line in results_table(results).splitlines() if " age " in line)
    assert f"{results.arms['naive']['age'].mean():.4g}" in row
    page = Path(write_report(case, results)).read_text()
    assert "rmse ↓" in page
    assert "Score of each arm on affect" in page


def test_the_weights_that_are_kept_are_chosen_by_scores_without_a_unit(finished):
    case, *_ = finished
    record = json.loads(next(Path(case.storage.path).glob("*/runs/naive/shared/seed-0/run.json")).read_text())
    assert record["best"]["mean_of"] == ["age.r2", "affect.ccc", "group.accuracy", "pain.quadratic_kappa"]


def test_an_exported_network_answers_in_the_labels_unit(finished, tmp_path):
    case, data_sets, results, folder = finished
    exported = load_exported(export_run(case, data_sets, "naive", None, None, tmp_path / "out"))
    test = np.load(folder / "test.npz")
    with torch.inference_mode():
        z = exported(torch.from_numpy(test["x"]))
    answers = exported.predict(torch.from_numpy(test["x"]))
    assert torch.equal(answers["age"], predicted_numbers(z["age"], tasks_of(case)["age"]))
    rmse = float(np.sqrt(np.mean((answers["age"][:, 0].numpy() - test["age"]) ** 2)))
    assert rmse == pytest.approx(results.arms["naive"]["age"].mean(), rel=1e-4)
    assert torch.allclose(answers["pain"].sum(dim=1), torch.ones(200))
    y = torch.from_numpy(test["affect"]).float()
    found = task_metrics(z["affect"], y, exported.tasks["affect"])
    assert found["ccc"] == pytest.approx(results.arms["naive"]["affect"].mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("relatedness=[{from: group, to: age, table: {}}]", "a table holds the probability of a class"),
        ("relatedness=[{from: pain, to: group, table: {}}]", "of kind ordinal"),
        ("datasets.others.labels.group.bins=[35]", "expected 2"),
        ("datasets.others.labels.group.bins=[45, 35]", "rising"),
        ("datasets.some.labels.age.bins=[45]", "takes the numbers"),
        ("datasets.some.labels.age.threshold=3", "threshold: found for a regression task"),
        ("tasks.affect.mean=3", "mean: found 1 numbers; expected 2"),
        ("evaluation.metrics.age={primary: accuracy}", "is a regression task; expected rmse, mae, r2, ccc"),
        ("training.best=age.accuracy", "no such metric"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(tmp_path, override, says):
    with pytest.raises(UserError, match=says):
        load_case(str(write_case(tmp_path)), [override])


def test_folds_test_every_row_once_and_report_over_all_of_them(tmp_path, ray_local):
    from pipelines import commands

    source = {"kind": "numpy", "path": "test.npz"}
    split = {"folds": 3, "stratify": "pain", "fractions": {"validation": 0.2}}
    data = {"all": {"source": source, "labels": labels(*TASKS), "split": split}}
    file = write_case(tmp_path, datasets=data, arms={"naive": {"matching": "none"}, "single": {"tasks": ["age"]}})
    case = load_case(str(file), ["evaluation={baseline: naive, main_task: group}", "training.steps=40"])
    finished = []
    for fold in range(3):
        one = case.of_fold(fold)
        ingest(one)
        data_sets = ingested(one)
        one = with_measured_labels(one, data_sets)
        train_here(one)
        finished.append((one, data_sets))
    outcome = commands._reported(finished)
    results = outcome.results
    assert results.folds == 3
    assert len(results.timings) == 6
    assert results.timings[-1].run.startswith("fold-2/")
    assert sum(n for _, _, n in results.confusion.counts["naive"]) == 200, "every row is tested once"
    assert tasks_of(finished[0][0])["age"].mean != tasks_of(finished[1][0])["age"].mean
    assert results.arms["naive"]["age"].mean() < 6, "each fold's numbers are in one unit"
    assert results.arms["naive"]["pain"].mean("quadratic_kappa") > 0.3
    assert Path(outcome.report).is_file()
    assert Path(outcome.folder).name == results.experiment


def test_an_order_is_calibrated_and_decided_as_it_is_scored(finished, tmp_path):
    case, data_sets, results, folder = finished
    out = export_run(case, data_sets, "naive", None, None, tmp_path / "out")
    exported = json.loads((out / "network.json").read_text())["tasks"]
    assert exported["pain"]["temperature"] != 1.0
    assert exported["pain"]["calibrated_on"] == "validation"
    assert exported["age"]["calibrated_on"] is None
    scored = results.arms["naive"]["pain"]
    assert scored.calibration.temperature == [pytest.approx(exported["pain"]["temperature"])]
    assert scored.calibration.thresholds == {}
    assert all(0 <= error <= 1 for error in scored.calibration.error_before + scored.calibration.error_after)

    said = load_model(out).predict(np.load(folder / "test.npz")["x"], full=True)
    kept = pq.read_table(Path(experiment_folder(case)) / "predictions.parquet").to_pandas()
    kept = kept[(kept.arm == "naive") & (kept.task == "pain")]
    assert said["pain"].tolist() == kept.prediction.tolist()
    assert (kept.prediction == kept.truth).mean() == pytest.approx(scored.metrics["accuracy"][0])
    p = np.stack(said["pain.probabilities"])
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-5)
    assert (p[np.arange(len(p)), said["pain"].astype(int)] == said["pain.probability"]).all()


def test_numbers_with_a_likelihood_state_their_spread_and_an_ensembles_is_that_of_the_mixture(finished, tmp_path):
    case, data_sets, _, folder = finished
    out = export_run(case, data_sets, "naive", None, None, tmp_path / "out")
    x = np.load(folder / "test.npz")["x"]
    model = load_model(out)
    said = model.predict(x, full=True)
    task = model.tasks["affect"]
    with torch.inference_mode():
        spread = predicted_spread(model.members[0](torch.from_numpy(x))["affect"], task)
    np.testing.assert_allclose(said[["affect.valence.spread", "affect.arousal.spread"]], spread, rtol=1e-4)
    assert not [name for name in said if name.startswith("age.") or name.startswith("affect.probab")]
    shifted = [dict(model.files[0]) for _ in range(2)]
    for files, by in zip(shifted, (1.0, -1.0), strict=True):
        described = json.loads(files["network.json"])
        mean = described["tasks"]["affect"]["mean"]
        described["tasks"]["affect"]["mean"] = [value + by for value in mean]
        files["network.json"] = json.dumps(described).encode()
    both = Model(shifted).predict(x, full=True)
    np.testing.assert_allclose(both["affect.valence"], said["affect.valence"], atol=1e-5)
    np.testing.assert_allclose(both["affect.valence.spread"], np.hypot(said["affect.valence.spread"], 1), rtol=1e-4)


def test_the_card_writes_errors_in_the_labels_unit_and_its_example_runs(finished, tmp_path, capsys):
    case, data_sets, results, _ = finished
    out = export_run(case, data_sets, "naive", None, None, tmp_path / "out", results=results)
    card = (out / "README.md").read_text()
    gained = results.arms["naive"]["age"].difference
    row = next(line for line in card.splitlines() if line.startswith("| age | rmse"))
    assert f"| {gained.value:+.3g} [{gained.low:+.3g}, {gained.high:+.3g}] |" in row
    assert "lower is better" in row
    assert "| age | regression | 1: age | numbers are not |" in card
    assert "states its spread" in card
    runpy.run_path(str(out / "predict.py"))
    lines = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == set(TASKS)
    assert eval(lines["pain"])[0] in TASKS["pain"]["classes"]
    assert eval(lines["affect"])[0] == pytest.approx(results_at_zero(out, "affect"))


def results_at_zero(out, task):
    return load_exported(out).predict(torch.zeros(2, 5))[task][0].tolist()


def test_a_start_from_an_export_says_the_same_numbers_whatever_mean_and_spread_labels_have(finished, tmp_path):
    case, data_sets, _, folder = finished
    out = export_run(case, data_sets, "naive", None, None, tmp_path / "out")
    network = f"network={{pretrained: {out}}}"
    other = ["tasks.age.mean=[3]", "tasks.age.spread=[0.5]", "tasks.affect.mean=[1, 2]", "tasks.affect.spread=[4, 0.1]"]
    naive = ["arms={naive: {matching: none}}", "evaluation.baseline=naive"]
    started = load_case(str(folder / "case.yaml"), [network, *other, *naive])
    assert started.network.widths == (24,)
    x, tasks, model = torch.from_numpy(np.load(folder / "test.npz")["x"]), tasks_of(started), load_exported(out)
    z = build_network(started, list(TASKS), 0).eval()(x)
    expected = model.predict(x)
    for name in ("age", "affect"):
        torch.testing.assert_close(predicted_numbers(z[name], tasks[name]), expected[name], rtol=1e-4, atol=1e-4)
    spread = predicted_spread(model(x)["affect"], model.tasks["affect"])
    torch.testing.assert_close(predicted_spread(z["affect"], tasks["affect"]), spread, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(z["pain"], model(x)["pain"])
