"""Pseudo-labels of an exported model: what `kindred predict` says, by its identity, refused where it does not fit."""

import json

import numpy as np
import pytest
import torch

from mtlcore import Multiclass, Multilabel, build_multi_task_network
from mtlcore.exported import Description, ExportedNetwork, ExportedTask, load_exported, save_exported
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.case.load import case_of
from pipelines.commands import ingest
from pipelines.ingest.ingest import ingested
from pipelines.use.label_by_models import label_by_models

CLASSES, TRAITS = ("a", "b", "c"), ("furry", "flies")


def export(folder, seed=0, columns=("x0", "x1", "x2"), temperature=0.2):
    """Write a model of three columns, with parameters as they are drawn."""
    torch.manual_seed(seed)
    tasks = [Multiclass("kind", CLASSES), Multilabel("traits", TRAITS)]
    network = build_multi_task_network((len(columns),), tasks, backbone="mlp", widths=(8,))
    described = Description(
        case="older", arm="co-trained", seed=seed,
        input={"kind": "vector", "size": len(columns), "mean": 0.0, "std": 1.0, "columns": list(columns)},
        tasks={
            "kind": ExportedTask("multiclass", CLASSES, temperature=temperature),
            "traits": ExportedTask("multilabel", TRAITS, temperature=temperature, thresholds=(0.3, 0.6)),
        },
        networks=(ExportedNetwork("", ("kind", "traits"), ("kind", "traits")),),
        network={"backbone": "mlp", "widths": [8]},
    )  # fmt: skip
    save_exported(folder, described, [network])
    return str(folder)


@pytest.fixture
def table(tmp_path):
    """Sixty rows of four numbers, and a class of the first thirty."""
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    lines = ["name,x0,x1,x2,x3,class"]
    lines += [f"r{i:02d},{','.join(map(str, row))},{'abc'[i % 3] if i < 30 else ''}" for i, row in enumerate(x)]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    return x


def a_case(folder, rules, tasks=None, columns=("x0", "x1", "x2"), **more):
    source = {"kind": "csv", "path": "rows.csv", "id_column": "name", "vector_columns": list(columns)}
    known = {"kind": {"from": "column", "column": "class"}}
    return case_of(
        {
            "name": "labelled",
            "data_root": str(folder),
            "storage": {"path": str(folder / "store")},
            "input": {"kind": "vector", "size": len(columns)},
            "tasks": {"kind": {"kind": "multiclass", "classes": ["c", "b", "a"]}} | (tasks or {}),
            "datasets": {
                "plain": {"source": source, "labels": known},
                "said": {"source": source, "labels": rules},
                "test": {"source": source, "labels": known, "split": "test"},
            },
            "training": {"steps": 1, "batch_size": 8},
        }
        | more
    )


def labels_of(case, task):
    reader = open_readers(case, ingested(case), "train")["said"]
    order = np.argsort([str(one) for one in reader.ids])
    return reader.labels(task)[order]


def test_labels_are_what_the_model_predicts_and_none_where_it_is_not_sure(ray_local, tmp_path, table):
    model = export(tmp_path / "older")
    tasks = {
        "animal": {"kind": "multiclass", "classes": ["b", "a", "see"], "aliases": {"c": "see"}, "auxiliary": True},
        "traits": {"kind": "multilabel", "labels": ["flies", "furry"], "auxiliary": True},
        "sure": {"kind": "multilabel", "labels": ["flies", "furry"], "auxiliary": True},
        "odds": {"kind": "regression", "outputs": ["c", "a", "b"], "auxiliary": True},
    }
    rules = {
        "kind": {"from": "model", "model": model},
        "animal": {"from": "model", "model": model, "task": "kind", "threshold": 0.7},
        "traits": {"from": "model", "model": model},
        "sure": {"from": "model", "model": model, "task": "traits", "threshold": 0.8},
        "odds": {"from": "model", "model": model, "task": "kind", "soft": True},
    }
    case = a_case(tmp_path, rules, tasks)
    ingest(case)
    p = load_exported(model).predict(torch.from_numpy(table[:, :3]))
    best = p["kind"].argmax(dim=1).numpy()
    assert (labels_of(case, "kind") == 2 - best).all()  # its own order of the same classes
    unsure = p["kind"].max(dim=1).values.numpy() < 0.7
    assert 0 < unsure.sum() < 60
    assert (labels_of(case, "animal") == np.where(unsure, -1, np.array([1, 0, 2])[best])).all()
    furry, flies = p["traits"].numpy().T
    assert (labels_of(case, "traits") == np.stack([flies >= 0.6, furry >= 0.3], axis=1)).all()
    for i, of_label in enumerate((flies, furry)):
        expected = np.where(of_label >= 0.8, 1, np.where(of_label <= 0.2, 0, -1))
        assert len(set(expected.tolist())) > 1
        assert (labels_of(case, "sure")[:, i] == expected).all()
    log_p = np.log(p["kind"].numpy()[:, [2, 0, 1]])
    assert np.allclose(labels_of(case, "odds"), log_p - log_p.mean(axis=1, keepdims=True), atol=1e-4)


def test_another_model_at_the_same_place_makes_other_blocks_and_the_same_one_none(ray_local, tmp_path, table):
    place = tmp_path / "older"
    rules = {"kind": {"from": "model", "model": str(export(place))}}
    first = a_case(tmp_path, rules)
    ingest(first)
    was, manifest = labels_of(first, "kind"), ingested(first).manifests["said"]
    assert manifest.settings["source"]["labels"]["kind"]["sha256"] == first.datasets["said"].labels["kind"].sha256
    files = sorted((tmp_path / "store" / "blocks" / "model-labels").iterdir())
    of_other_rows = a_case(tmp_path, rules, columns=("x1", "x2", "x3"))
    export(place, seed=1)
    with pytest.raises(UserError, match="changed since the case was read"):
        label_by_models(of_other_rows)
    second = a_case(tmp_path, rules)
    ingest(second)
    assert (labels_of(second, "kind") != was).any()
    assert (labels_of(first, "kind") == was).all()  # the first blocks are there still
    export(place)
    ingest(a_case(tmp_path, rules))
    assert set(files) < set((tmp_path / "store" / "blocks" / "model-labels").iterdir())
    with pytest.raises(UserError, match="sha256"):
        a_case(tmp_path, {"kind": {"from": "model", "model": str(place), "sha256": "0" * 64}})


def test_a_model_takes_its_own_columns_of_a_table(ray_local, tmp_path, table):
    """An older model may look at what the new one is not to see."""
    model = export(tmp_path / "older", columns=("x3", "x0"))
    case = a_case(tmp_path, {"kind": {"from": "model", "model": model}})
    ingest(case)
    best = load_exported(model).predict(torch.from_numpy(table[:, [3, 0]]))["kind"].argmax(dim=1).numpy()
    assert (labels_of(case, "kind") == 2 - best).all()


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ({"task": "kinds"}, {}, "does not predict"),
        ({"task": "traits"}, {}, "multilabel"),
        ({"soft": True}, {}, "regression"),
        ({"threshold": 1.5}, {}, "probability"),
        ({"column": "class"}, {}, "reads no column"),
        ({"model": "nowhere"}, {}, "kindred export"),
        ({}, {"tasks": {"kind": {"kind": "multiclass", "classes": ["a", "b", "d"]}}}, "'c' beside them"),
        ({}, {"input": {"height": 8, "width": 8}}, "vector"),
    ],
)
def test_what_a_model_does_not_say_is_refused_before_anything_starts(tmp_path, table, rule, change, words):
    model = export(tmp_path / "older")
    with pytest.raises(UserError, match=words):
        a_case(tmp_path, {"kind": {"from": "model", "model": model} | rule}, **change)


def test_a_test_split_is_not_labelled_by_a_model(tmp_path, table):
    model = export(tmp_path / "older")
    content = json.loads(a_case(tmp_path, {"kind": {"from": "model", "model": model}}).model_dump_json(by_alias=True))
    content["datasets"]["test"]["labels"] = content["datasets"]["said"]["labels"]
    with pytest.raises(UserError, match="somebody gave"):
        case_of(content)
