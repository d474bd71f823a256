"""What is predicted is what was evaluated, to the bit; every row is accounted for; what was stopped goes on."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import UserError
from pipelines.base.storage import read_bytes
from pipelines.evaluate.evaluate import evaluate
from pipelines.experiment.layout import experiment_folder
from pipelines.ingest.ingest import ingested
from pipelines.use import predict as prediction
from pipelines.use.answers import Asked
from pipelines.use.find_model import find_model
from pipelines.use.model import Model
from pipelines.use.predict import predict
from tests.commands import kindred, kindred_here
from tests.object_storage import CREDENTIALS, make_bucket, s3_server, upload, url_at


@pytest.fixture
def pictures(case_of, digits_store):
    """The digits' own folder, which their ingest has written."""
    case_of()
    return digits_store / "sources" / "digits"


@pytest.fixture
def here(monkeypatch):
    """Have so many parts predicted one by one: a part alone is predicted in this process."""
    on_ray = prediction._predict_parts

    def set_most(most):
        def predict_parts(parts, *more):
            for part in parts[:most]:
                yield from on_ray([part], *more)

        monkeypatch.setattr(prediction, "_predict_parts", predict_parts)

    return set_most


@pytest.mark.parametrize("arm", ["co-trained", "single-task-fused"])
def test_predictions_of_the_test_split_equal_those_of_evaluation_to_the_bit(case_of, pictures, tmp_path, arm):
    case = case_of()
    evaluate(case, ingested(case))
    kept = pq.read_table(Path(experiment_folder(case)) / "predictions.parquet").to_pandas()
    lines = (pictures / "test.csv").read_text().splitlines()
    other_order = [lines[0], *reversed(lines[1:250]), "test/none.png,0,0,0,0,0,0,0", *lines[250:]]
    table = pictures / f"of-{arm}.csv"
    table.write_text("\n".join(other_order))
    done = predict(
        find_model(experiment_folder(case), arm),
        [str(table)],
        str(tmp_path / "out.parquet"),
        Asked(full=True, calibrated=False),
    )
    assert (done.rows_in, done.rows, done.quarantined) == (501, 500, 1)
    said = pq.read_table(done.out).to_pandas().set_index("id")
    for task in ("digit", "traits"):
        evaluated = kept[(kept.arm == arm) & (kept.task == task)].set_index("id")
        assert len(evaluated) == 500
        both = zip(evaluated.probabilities, said.loc[evaluated.index][f"{task}.probabilities"], strict=True)
        assert all(np.array_equal(right, of_use) for right, of_use in both)
    digits = kept[(kept.arm == arm) & (kept.task == "digit")].set_index("id")
    assert (said.loc[digits.index]["digit"] == digits.prediction).all()


def test_what_cannot_be_read_is_in_the_quarantine_and_the_rest_in_the_order_of_the_inputs(
    case_of, pictures, tmp_path, here
):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for i, file in enumerate(sorted((pictures / "test").iterdir())[:5]):
        shutil.copy(file, folder / f"{i}.png")
    (folder / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "notes.txt").write_text("no image")
    models = find_model(experiment_folder(case_of()))
    tables = {}
    for ending in ("parquet", "csv", "jsonl"):
        out = str(tmp_path / f"out.{ending}")
        done = predict(models, [str(folder), str(folder / "4.png")], out, Asked(full=True))
        assert (done.rows_in, done.rows, done.quarantined) == (6, 5, 1)
        assert not Path(f"{tmp_path}/out.parts").exists()
        tables[ending] = out
        here(2)  # after the first: how a file is written is no matter of actors
    (bad,) = pq.read_table(done.quarantine).to_pylist()
    assert bad["id"].endswith("mixed/2.png")
    assert "image" in bad["reason"]
    of_parquet = pq.read_table(tables["parquet"]).to_pylist()
    assert [Path(row["id"]).name for row in of_parquet] == ["0.png", "1.png", "3.png", "4.png", "4.png"]
    of_json = [json.loads(line) for line in Path(tables["jsonl"]).read_text().splitlines()]
    assert [row["traits"] for row in of_json] == [row["traits"] for row in of_parquet]
    with open(tables["csv"]) as file:
        of_csv = list(csv.DictReader(file))
    for row, cells in zip(of_parquet, of_csv, strict=True):
        assert cells["digit"] == row["digit"]
        assert cells["traits"] == "|".join(row["traits"])
        for i, p in enumerate(row["digit.probabilities"]):
            assert float(cells[f"digit.probability.{i}"]) == pytest.approx(p, rel=1e-6)


def test_a_prediction_that_was_stopped_goes_on_and_what_has_changed_is_predicted_again(
    case_of, pictures, tmp_path, monkeypatch, here
):
    models, table = find_model(experiment_folder(case_of())), str(pictures / "test.csv")
    whole = predict(models, [table], str(tmp_path / "whole.parquet"), Asked())
    assert whole.kept == 0

    monkeypatch.setattr(prediction, "_MOST_ROWS", 100)
    out, on_ray = str(tmp_path / "out.parquet"), prediction._predict_parts
    here(2)
    with pytest.raises(FileNotFoundError):
        predict(models, [table], out, Asked())
    parts = tmp_path / "out.parts"
    assert len(list(parts.glob("*.parquet"))) == 2
    next(parts.glob("[!a]*.json")).unlink()  # killed between a part and the word that it is done
    monkeypatch.setattr(prediction, "_predict_parts", on_ray)
    done = predict(models, [table], out, Asked())
    assert (done.rows, done.kept) == (500, 100)
    assert pq.read_table(out).equals(pq.read_table(whole.out)), "actors say what this process does, to the bit"
    assert not parts.exists()

    here(2)
    with pytest.raises(FileNotFoundError):
        predict(models, [table], out, Asked())
    here(5)
    assert predict(models, [table], out, Asked(embeddings=True)).kept == 0, "asked for something else"


def test_an_ensemble_is_the_mean_of_its_seeds(case_of, pictures, tmp_path):
    case = case_of("training.seeds=[3,4]")
    table, said = str(pictures / "test.csv"), {}
    for name, choice in {"both": {"ensemble": True}, "first": {"seed": 3}, "second": {"seed": 4}}.items():
        out = str(tmp_path / f"{name}.parquet")
        predict(find_model(experiment_folder(case), "naive", **choice), [table], out, Asked(full=True))
        said[name] = np.stack(pq.read_table(out)["digit.probabilities"].to_pylist())
    np.testing.assert_allclose(said["both"], (said["first"] + said["second"]) / 2, rtol=1e-5)


def test_inputs_and_answers_in_a_bucket_are_those_of_the_disk(case_of, pictures, tmp_path, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    models = find_model(experiment_folder(case_of()), "naive")
    folder = tmp_path / "new"
    folder.mkdir()
    for file in sorted((pictures / "test").iterdir())[:20]:
        shutil.copy(file, folder)
    (folder / "broken.png").write_bytes(b"no image")
    here = predict(models, [str(folder)], str(tmp_path / "here.parquet"), Asked(full=True))
    with s3_server() as port:
        make_bucket(port, "photos")
        upload(port, folder, "photos/new")
        out = url_at(port, "photos/said.parquet", anonymous=False)
        monkeypatch.setattr(prediction, "_MOST_ROWS", 16)  # two parts, and so actors
        there = predict(models, [url_at(port, "photos/new")], out, Asked(full=True))
        said = pq.read_table(pa.BufferReader(read_bytes(out)))
        by_one = Model(models).predict([url_at(port, "photos/new")], full=True)
    assert (there.rows_in, there.rows, there.quarantined) == (here.rows_in, here.rows, here.quarantined) == (21, 20, 1)
    on_disk = pq.read_table(here.out)
    assert said.drop_columns(["source"]).equals(on_disk.drop_columns(["source"]))
    readable = by_one[by_one["problem"].isna()]
    assert readable.index.tolist() == said["id"].to_pylist()
    assert np.array_equal(np.stack(readable["digit.probabilities"]), np.stack(said["digit.probabilities"].to_pylist()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["INPUT", "--out", "out.xlsx"],
            "--out: found 'out.xlsx'; expected a file that ends in .parquet, .csv, .jsonl",
        ),
        (["INPUT", "--out", "o.csv", "--arm", "nave"], "--arm: found 'nave', no such arm; did you mean 'naive'?"),
        (["INPUT", "--out", "o.csv", "--seed", "9"], "--seed: found 9; expected one of 3"),
        (["INPUT", "--out", "o.csv", "--source", "delimiter"], "not of the form key=value"),
    ],
)
def test_a_wrong_call_is_told_before_ray_starts(case_of, arguments, words):
    done = kindred_here("predict", experiment_folder(case_of()), *arguments)
    assert done.returncode == 2
    assert words in done.stderr.replace("\n", " ")


def test_inputs_that_are_none_are_told(case_of, pictures, tmp_path):
    models = find_model(experiment_folder(case_of()))
    (tmp_path / "a.docx").write_bytes(b"x")
    for path, options, words in [
        (tmp_path / "nowhere", {}, "nothing lies at"),
        (tmp_path / "a.docx", {}, "a file of no known kind"),
        (pictures / "test.csv", {"file_column": "path"}, "there is no column 'path'"),
        (pictures / "test.csv", {"file_colum": "path"}, "file_column"),
    ]:
        with pytest.raises(UserError, match=words):
            predict(models, [str(path)], str(tmp_path / "o.csv"), Asked(), options=options)


def test_the_command_predicts_an_experiment_and_prints_its_rate(case_of, pictures, tmp_path):
    """One part alone in its own process, without Ray; what several inputs hold on Ray."""
    out, experiment, table = tmp_path / "out.parquet", experiment_folder(case_of()), str(pictures / "test.csv")
    done = kindred("predict", experiment, table, "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    assert "Ray" not in done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["quarantined"]) == (500, 0)
    assert told["rows_per_second"] > 0
    said = pq.read_table(out)
    assert said.schema.field("traits").type == pa.list_(pa.string())
    assert len(said) == 500
    more = kindred_here(
        "predict",
        experiment,
        table,
        str(pictures / "validation.csv"),
        "--out",
        str(tmp_path / "more.parquet"),
        "--json",
    )
    assert more.returncode == 0, more.stderr
    assert json.loads(more.stdout)["rows"] > 500
    assert pq.read_table(tmp_path / "more.parquet")["digit"].to_pylist()[:500] == said["digit"].to_pylist()
