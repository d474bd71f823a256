"""A case built from objects is one like any other, on a Ray that is there; its result is tables and models."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import pipelines
from pipelines.api.memory import keep_in_memory_data
from pipelines.base.errors import UserError
from pipelines.base.storage import kind_of
from pipelines.ingest.list_rows import list_data_set
from tests.pipelines.one_worker import ingest_and_train_here

COLUMNS = ["width", "length"]
TABLE = {"small": {"long": None}, "big": {"heavy": 1, "long": None}}


def made(n, seed):
    x = np.random.Generator(np.random.PCG64(seed)).normal(size=(n, 2))
    return pd.DataFrame(
        {
            "width": x[:, 0],
            "length": 100 * x[:, 1],
            "kind": np.where(x[:, 0] > 0, "big", "small"),
            "heavy": (x[:, 0] > 0).astype(int),
            "long": (x[:, 1] > 0).astype(int),
        }
    )


def content(tmp_path, **datasets):
    return {
        "name": "leaves",
        "input": {"kind": "vector", "columns": COLUMNS},
        "tasks": {
            "kind": {"kind": "multiclass", "classes": ["small", "big"]},
            "traits": {"kind": "multilabel", "labels": ["heavy", "long"]},
        },
        "datasets": datasets,
        "relatedness": [
            {"from": "kind", "to": "traits", "table": {"small": {"long": None}, "big": {"heavy": 1, "long": None}}}
        ],
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 40, "batch_size": 32, "optimizer": {"lr": 0.03}, "seeds": [0]},
        "arms": {"naive": {"matching": "none"}, "co-trained": {}},
        "evaluation": {"baseline": "naive", "replicates": 20},
        "storage": {"path": str(tmp_path)},
    }


def test_a_case_from_dataframes_runs_and_its_model_predicts_dataframes(ray_local, tmp_path):
    case = pipelines.load_case(
        content(
            tmp_path,
            kinds={"source": made(200, 0)[[*COLUMNS, "kind"]]},
            traits={"source": pa.Table.from_pandas(made(200, 1)[[*COLUMNS, "heavy", "long"]])},
            held_out={"source": made(60, 2), "split": "validation"},
            test={"source": made(100, 3), "split": "test"},
        )
    )
    assert list(case.datasets["kinds"].labels) == ["kind"]
    assert list(case.datasets["traits"].labels) == ["traits"]
    ingest_and_train_here(case)  # the page's example (test_docs.py) has it trained by `run`
    result = pipelines.run(case)
    assert result.table.loc[("kind", "naive"), "score"] > 0.9
    assert set(result.table.columns) >= {"score", "difference", "low", "high", "verdict"}
    assert "<table>" in result._repr_html_()
    assert len(result.plot().axes) == 2
    assert kind_of(result.report) == "file"
    assert set(result.predictions.arm) == {"naive", "co-trained"}

    model, fresh = result.model("naive"), made(50, 4)
    said = model.predict(fresh[["length", "kind", "width"]])
    assert (said["kind"] == fresh["kind"]).mean() > 0.9
    assert "naive" in repr(model)
    again = pipelines.Trainer(case).fit()
    assert again.results.arms == result.results.arms
    assert pipelines.load_model(result.folder, "naive").predict(fresh)["kind"].tolist() == said["kind"].tolist()


class _Pairs(torch.utils.data.Dataset):
    def __init__(self, pixels, labels):
        self._pixels, self._labels = pixels, labels

    def __len__(self):
        return len(self._pixels)

    def __getitem__(self, i):
        return torch.from_numpy(self._pixels[i])[None], self._labels[i]


def test_data_of_every_kind_come_to_the_same_rows(ray_local, tmp_path):
    import ray

    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (5, 6, 7), dtype=np.uint8)
    labels = ["a", "b", "a", "b", "a"]
    rows = [{"input": pixels[i], "digit": labels[i]} for i in range(5)]
    kinds = {
        "arrays": {"input": pixels, "digit": np.array(labels)},
        "tuple": (pixels, np.array(labels)),
        "frame": pd.DataFrame({"input": list(pixels), "digit": labels}),
        "torch": _Pairs(pixels, labels),
        "ray": ray.data.from_items(rows),
    }
    contents = {}
    for name, data in kinds.items():
        file, columns = keep_in_memory_data(data, ["digit"], "train", str(tmp_path))
        assert columns == ["input", "digit"], name
        table = pq.read_table(file).to_pylist()
        contents[name] = sorted((row["digit"], bytes(row["input"])) for row in table)
    assert all(found == contents["arrays"] for found in contents.values())
    again, _ = keep_in_memory_data(kinds["arrays"], ["digit"], "train", str(tmp_path))
    assert again == keep_in_memory_data(kinds["arrays"], ["digit"], "train", str(tmp_path))[0]


def test_a_hugging_face_dataset_keeps_its_images_and_the_names_of_its_classes(tmp_path):
    hugging_face = pytest.importorskip("datasets")
    pixels = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    names, labels = ["crow", "gull"], [0, 1, 1, 0, 1, 0]
    features = {"img": hugging_face.Image(), "species": hugging_face.ClassLabel(names=names)}
    data = hugging_face.Dataset.from_dict(
        {"img": [Image.fromarray(one) for one in pixels], "species": labels},
        features=hugging_face.Features(features),
    )
    case = pipelines.load_case(
        {
            "name": "birds",
            "input": {"height": 8, "width": 8},
            "tasks": {"species": {"kind": "multiclass", "classes": names[::-1]}},
            "datasets": {"train": {"source": data}, "test": {"source": data, "split": "test"}},
            "training": {"steps": 1, "batch_size": 2},
            "network": {"backbone": "mlp", "widths": [4]},
            "storage": {"path": str(tmp_path)},
        }
    )
    listed = list_data_set(case, "train")
    assert listed.rows["species"].to_pylist() == [1 - label for label in labels], "by name, not by number"
    seen = pipelines.inspect(case)
    assert {label.label: label.holds for label in seen.data_sets[0].tasks[0].labels} == {"crow": 3, "gull": 3}
    file = next((tmp_path / "sources").glob("*.parquet"))
    encoded = pq.read_table(file)["img"].to_pylist()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded[2]["bytes"]))), pixels[2])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (3, "found int; expected settings with a kind, a pandas.DataFrame"),
        ({"a": [1, 2], "b": [1]}, "expected as many in each"),
        ([(1, 2, 3)], "expected their names"),
        ([], "found no rows"),
    ],
)
def test_data_that_are_none_are_refused(data, words, tmp_path):
    with pytest.raises(UserError, match=words):
        keep_in_memory_data(data, ["digit"], "train", str(tmp_path))


def test_a_mistake_in_a_case_from_objects_is_told_as_in_a_file(tmp_path):
    with pytest.raises(UserError, match="case: training: unknown key 'stepz'"):
        pipelines.load_case(content(tmp_path, a={"source": made(9, 0)}) | {"training": {"stepz": 1}})
    with pytest.raises(UserError, match="unknown key 'epochs'"):
        pipelines.load_case("digits", {"training.epochs": 3})
    assert pipelines.load_case("digits", {"training.steps": 7}).training.steps == 7


def test_one_configuration_of_somebodys_own_search_is_scored_on_validation(ray_local, tmp_path):
    from ray import tune

    case = pipelines.load_case(
        content(
            tmp_path,
            train={"source": made(120, 0)},
            held_out={"source": made(60, 2), "split": "validation"},
            test={"source": made(60, 3), "split": "test"},
        )
    )
    tuner = tune.Tuner(
        pipelines.trainable(case, "naive"),
        param_space={"training.optimizer.lr": tune.grid_search([0.03])},
        run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
    )
    (found,) = tuner.fit()
    assert found.error is None, found.error
    assert found.metrics["score"] > 0.6
    assert set(found.metrics["scores"]) == {"kind", "traits"}
    with pytest.raises(UserError, match="no such arm"):
        pipelines.trainable(case, "nave")
