"""Every way in which a case file may say how two tasks relate, from the file to the losses."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mtlcore import Multiclass, Multilabel, Relatedness, save_relatedness
from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.batches.batch import class_priors, open_readers
from pipelines.batches.counted_relatedness import counted_relatedness, with_counted_tables
from pipelines.case.build import build_loss, relatedness_of, tasks_of
from pipelines.case.load import as_yaml, find_case_file, load_case
from pipelines.case.load import case_of as load_content
from pipelines.evaluate.relate import edges_asked_for
from pipelines.experiment import kept_case
from pipelines.experiment.resume import begun_case
from pipelines.ingest.ingest import ingest, ingested
from tests.commands import kindred_here
from tests.pipelines.one_worker import run_here

FACES = {
    "mood": {"kind": "multiclass", "classes": ["neutral", "happy", "fear"], "aliases": {"happiness": "happy"}},
    "units": {"kind": "multilabel", "labels": ["AU1", "AU6", "AU12", "AU45"]},
}
BIRDS = {
    "species": {"kind": "multiclass", "classes": ["crow", "jay", "gull"]},
    "family": {"kind": "multiclass", "classes": ["corvids", "larids"]},
    "order": {"kind": "multiclass", "classes": ["songbirds", "shorebirds"]},
    "traits": {"kind": "multilabel", "labels": ["black", "swims"]},
}


def case_of(tmp_path, tasks, edges):
    given = {
        "name": "of_tables", "data_root": str(tmp_path), "input": {"kind": "vector", "size": 2}, "tasks": tasks,
        "datasets": {
            split: {
                "source": {"kind": "csv", "path": "x.csv", "vector_columns": ["a", "b"]},
                "labels": {
                    name: {"from": "columns"} if of["kind"] == "multilabel" else {"from": "column", "column": name}
                    for name, of in tasks.items()
                },
                "split": split,
            }
            for split in ("train", "test")
        },
        "relatedness": edges, "network": {"backbone": "mlp", "widths": [4]}, "training": {"steps": 1, "batch_size": 4},
        "storage": {"path": str(tmp_path / "store")},
    }  # fmt: skip
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(given))
    return load_case(str(tmp_path / "case.yaml"))


def table_of(case, i=0):
    return relatedness_of(case.relatedness[i], tasks_of(case)).table


def told(*arguments):
    with pytest.raises(UserError) as caught:
        case_of(*arguments)
    assert "case.yaml: relatedness." in str(caught.value)
    return str(caught.value)


NAN = float("nan")


def test_the_published_table_is_used_by_name_for_the_tasks_own_words(tmp_path):
    edge = {"from": "mood", "to": "units", "table": "expression_to_au"}
    found = table_of(case_of(tmp_path, FACES, [edge]))
    assert found[0].isnan().all(), "neutral is not in the table"
    np.testing.assert_array_equal(found[1:], [[0, 0.51, 1, NAN], [1, 0, 0, NAN]])
    found = table_of(case_of(tmp_path, FACES, [edge | {"rows": {"neutral": []}}]))
    assert found[0].tolist() == [0, 0, 0, 0], "a stated row stands above the table's"


def test_prototypical_rows_and_unknown_rows_are_read_and_the_case_written_holds_them(tmp_path):
    rows = {"happy": {"prototypical": ["AU12"], "observational": {"AU6": 0.51}}, "fear": None, "neutral": []}
    case = case_of(tmp_path, FACES, [{"from": "mood", "to": "units", "table": rows}])
    expected = [[0, 0, 0, 0], [0, 0.51, 1, 0], [NAN] * 4]
    np.testing.assert_array_equal(table_of(case), expected)
    (tmp_path / "again.yaml").write_text(as_yaml(case))
    np.testing.assert_array_equal(table_of(load_case(str(tmp_path / "again.yaml"))), expected)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "mood,AU1,AU6,AU12,AU45\nhappy,0,0.51,1,\nfear,1,,0,0\n\nneutral,0,0,0,0\n"),
        ("t.tsv", "mood\tAU45\tAU1\tAU6\tAU12\nhappy\t\t0\t0.51\t1\nfear\t0\t1\t\t0\nneutral\t0\t0\t0\t0\n"),
        ("t.yaml", "{happy: {AU6: 0.51, AU12: 1, AU45: null}, fear: {AU1: 1, AU6: null}, neutral: []}"),
        (
            "t.yaml",
            "provenance: me\ntable: {happy: {AU6: 0.51, AU12: 1, AU45: null}, fear: {AU1: 1, AU6: null}, neutral: []}",
        ),
    ],
)
def test_a_table_is_read_from_a_file(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    case = case_of(tmp_path, FACES, [{"from": "mood", "to": "units", "file": name}])
    np.testing.assert_array_equal(table_of(case), [[0, 0, 0, 0], [0, 0.51, 1, NAN], [1, NAN, 0, 0]])


def test_a_file_that_mtlcore_saved_is_read_with_its_base(tmp_path):
    traits, family = Multilabel("t", ("black", "swims")), Multiclass("f", ("corvids", "larids"))
    R = Relatedness.from_rows(
        traits, family, {"black": {"corvids": 0.7, "larids": 0.3}, "swims": "larids"}, {"corvids": 0.9, "larids": 0.1}
    )
    save_relatedness(R, tmp_path / "R.safetensors")
    case = case_of(tmp_path, BIRDS, [{"from": "traits", "to": "family", "file": "R.safetensors"}])
    found = relatedness_of(case.relatedness[0], tasks_of(case))
    assert torch.equal(found.table, R.table)
    assert torch.equal(found.base, R.base)
    message = told(tmp_path, BIRDS, [{"from": "traits", "to": "order", "file": "R.safetensors"}])
    assert "task 'f' has other classes or labels than 'order' here" in message


AGES = {
    "group": {"kind": "multiclass", "classes": ["child", "adult", "old"]},
    "over": {"kind": "multilabel", "labels": ["18", "40"]},
}


def ages(tmp_path, group=(18, 65), over=(18, 40), column="age", edge=None):
    """A case of two tasks that cut a number, in datasets of their own."""
    case = case_of(tmp_path, AGES, [])
    content = yaml.safe_load(as_yaml(case))
    for data_set in content["datasets"].values():
        data_set["labels"] = {
            "group": {"from": "column", "column": "age", "bins": list(group)},
            "over": {"from": "column", "column": column, "bins": list(over)},
        }
    content["relatedness"] = [{"from": "group", "to": "over", "bins": True} | (edge or {})]
    return load_content(content)


def test_two_binnings_of_one_column_relate_by_their_bins(tmp_path):
    np.testing.assert_array_equal(table_of(ages(tmp_path)), [[0, 0], [1, NAN], [1, 1]])
    stated = {"rows": {"adult": {"18": 1, "40": 0.5}}}
    np.testing.assert_array_equal(table_of(ages(tmp_path, edge=stated)), [[0, 0], [1, 0.5], [1, 1]])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"column": "years"}, "of the column age and 'over' of years"),
        ({"group": []}, "labels.group has no bins"),
        ({"edge": {"from": "over", "to": "group"}}, "expected a multiclass one"),
        ({"edge": {"table": {}}}, "found both 'table' and 'bins'"),
        ({"edge": {"bins": "x"}}, "expected true"),
    ],
)
def test_bins_relate_what_is_one_number_alone(tmp_path, given, words):
    with pytest.raises(UserError, match=words):
        ages(tmp_path, **given)


TREE = {"crow": "corvids", "jay": "corvids", "gull": "larids", "corvids": "songbirds", "larids": "shorebirds"}


def test_a_hierarchy_gives_every_pair_of_levels_and_edges_compose(tmp_path):
    (tmp_path / "tree.yaml").write_text(yaml.safe_dump(TREE))
    edges = [
        {"from": "species", "to": "family", "hierarchy": TREE},
        {"from": "family", "to": "order", "hierarchy": "tree.yaml"},
        {"from": "species", "to": "order", "through": "family"},
        {"from": "family", "to": "traits", "table": {"corvids": {"black": 0.8}, "larids": "swims"}},
        {"from": "species", "to": "traits", "through": "family"},
    ]
    case = case_of(tmp_path, BIRDS, edges)
    assert table_of(case, 0).tolist() == [[1, 0], [1, 0], [0, 1]]
    assert table_of(case, 2).tolist() == [[1, 0], [1, 0], [0, 1]]
    assert table_of(case, 4).tolist() == [[0.8, 0], [0.8, 0], [0, 1]]
    direct = case_of(tmp_path, BIRDS, [{"from": "species", "to": "order", "hierarchy": TREE}])
    assert torch.equal(table_of(direct), table_of(case, 2))


@pytest.mark.parametrize(
    ("tasks", "edge", "words"),
    [
        (FACES, {"table": "expression_to_aus"}, "0.table: found 'expression_to_aus'; .*mean 'expression_to_au'"),
        (FACES, {"table": {}, "file": "t.csv"}, "relatedness.0: found both 'table' and 'file'"),
        (FACES, {"file": "t.cvs"}, "0.file: found 't.cvs', no such file"),
        (FACES, {"file": "short.csv"}, "short.csv, line 2: found 2 cells; expected 3 as in line 1"),
        (FACES, {"file": "word.csv"}, "word.csv, line 2, row 'happy', cell 'AU6': found 'much'; expected a number"),
        (FACES, {"file": "twice.csv"}, "twice.csv, line 3: the row 'happy' stands twice"),
        (FACES, {"file": "column.csv"}, "column.csv, line 1: the column 'AU1' stands twice"),
        (FACES, {"file": "empty.csv"}, "empty.csv: found no header"),
        (FACES, {"table": {"happy": {"prototypical": ["AU6"], "AU12": 1}}}, "row 'happy': found 'AU12' beside"),
        (FACES, {"table": {"happy": [], "fear": [], "neutral": {"AU6": 2}}}, "row 'neutral', cell 'AU6': found 2"),
        (FACES, {}, "relatedness.0: found neither 'table' nor 'file' nor 'counted'"),
        (FACES, {"counted": {"strenght": 1}}, "relatedness.0.counted: unknown key 'strenght'; did you mean 'strength'"),
        (FACES, {"table": {"happy": [], "fear": [], "neutral": []}, "base": {"AU6": 0.1}}, "only a multilabel source"),
        (BIRDS, {"from": "species", "to": "order", "hierarchy": {"crow": "x"}}, "hierarchy: .*crow -> x has no parent"),
        (BIRDS, {"from": "species", "to": "order", "through": "family"}, "through: there is no edge species -> family"),
        (BIRDS, {"from": "specie", "to": "order", "hierarchy": TREE}, "no task 'specie'; did you mean 'species'"),
    ],
)  # fmt: skip
def test_a_wrong_way_is_told_by_key_row_and_cell(tmp_path, tasks, edge, words):
    import re

    for name, text in {
        "short": "m,AU1,AU6\nhappy,1\n", "word": "m,AU6\nhappy,much\n", "twice": "m,AU6\nhappy,1\nhappy,1\n",
        "column": "m,AU1,AU1\nhappy,1,1\n", "empty": "",
    }.items():  # fmt: skip
        (tmp_path / f"{name}.csv").write_text(text)
    message = told(tmp_path, tasks, [{"from": "mood", "to": "units", **edge}])
    assert re.search(words, message), message


def test_counting_needs_a_training_set_that_is_labelled_for_both():
    with pytest.raises(UserError, match=r"relatedness.0.counted: found no dataset of split 'train' labelled for both"):
        load_case("digits", ["relatedness=[{from: digit, to: traits, counted: {}}]"])


# ---- counted from the training inputs, and what is done with a multilabel source


@pytest.fixture
def pets(tmp_path):
    """Forty training rows: a kind on all, traits on thirty; cats are furry, 3 of 15 dogs are not."""

    def load(*edges):
        def rows(n, test):
            for i in range(n):
                kind = ("cat", "dog")[i % 2]
                furry = "" if i >= 30 and not test else int(kind == "cat" or i % 10 != 1)
                yield f"{i},{i % 7},{kind},{furry},{0 if furry != '' else ''}"

        for name, n in (("train", 40), ("test", 20)):
            head = "a,b,kind,furry,flies\n"
            (tmp_path / f"{name}.csv").write_text(head + "\n".join(rows(n, name == "test")) + "\n")
        labels = {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}}
        source = {"kind": "csv", "vector_columns": ["a", "b"]}
        given = {
            "name": "pets", "data_root": str(tmp_path), "input": {"kind": "vector", "size": 2},
            "tasks": {
                "kind": {"kind": "multiclass", "classes": ["cat", "dog"]},
                "traits": {"kind": "multilabel", "labels": ["furry", "flies"]},
            },
            "datasets": {
                split: {"source": source | {"path": f"{split}.csv"}, "labels": labels, "split": split}
                for split in ("train", "test")
            },
            "relatedness": list(edges), "network": {"backbone": "mlp", "widths": [8]},
            "training": {
                "steps": 4, "batch_size": 16,
                "matching": {"dm": {"weight": 1.0}, "sca": {"weight": 1.0}, "ill": {"weight": 1.0}},
            },
            "evaluation": {"replicates": 10}, "storage": {"path": str(tmp_path / "store")},
        }  # fmt: skip
        (tmp_path / "pets.yaml").write_text(yaml.safe_dump(given))
        return load_case(str(tmp_path / "pets.yaml"))

    return load


def test_an_edge_is_counted_from_training_inputs_alone_on_top_of_its_table(ray_local, pets):
    stated = {"cat": "furry", "dog": {"furry": 0.5, "flies": None}}
    edge = {"from": "kind", "to": "traits", "counted": {"a": 1, "b": 1, "least_support": 5}}
    for more, strength in (({}, 0), ({"table": stated}, 10)):
        case = pets(edge | more | {"counted": edge["counted"] | {"strength": strength}})
        ingest(case)
        readers = open_readers(case, ingested(case), "train")
        found = counted_relatedness(case, case.relatedness[0], readers)
        assert found.support.tolist() == [[15, 15], [15, 15]], "five of each kind have no traits; none is from the test"
        s = strength
        expected = [[(15 + 1 + s) / (17 + s), 1 / (17 + s)], [(12 + 1 + 0.5 * s) / (17 + s), 1 / 17]]
        np.testing.assert_allclose(found.table, expected, rtol=1e-12)
        counted = with_counted_tables(case, readers)
        assert torch.equal(relatedness_of(counted.relatedness[0], tasks_of(case)).table, found.table)


def test_a_run_counts_trains_and_reports_with_a_multilabel_source(ray_local, pets):
    case = pets({"from": "traits", "to": "kind", "counted": {"least_support": 5}})
    outcome = run_here(case)
    assert "Relatedness of traits to kind" in Path(outcome.report).read_text()
    history = Path(outcome.folder) / "runs" / "co-trained" / "shared" / "seed-0" / "history.parquet"
    import pyarrow.parquet as pq

    columns = pq.read_table(history).column_names
    assert {"dm:traits->kind", "sca:kind->traits", "sca:traits->kind", "ill:kind->traits"} <= set(columns)


def test_a_multilabel_source_takes_its_targets_class_prior_and_its_own_shares(ray_local, pets):
    rows = {"furry": {"cat": 0.6, "dog": 0.4}, "flies": None}
    case = pets({"from": "traits", "to": "kind", "table": rows})
    ingest(case)
    priors = class_priors(case, open_readers(case, ingested(case), "train"))
    assert priors["traits"] == pytest.approx((28 / 32, 1 / 32))
    assert priors["kind"] == pytest.approx((0.5, 0.5))
    priors = {**priors, "kind": (0.3, 0.7)}
    (pair,) = build_loss(case, ["kind", "traits"], case.training.matching, priors).pairs
    assert pair.relatedness.base.tolist() == pytest.approx([0.3, 0.7])
    assert pair.sca.prior == priors["traits"]


def test_rows_annotated_for_both_that_are_not_there_are_told_before_training(ray_local, pets, tmp_path):
    case = pets({"from": "kind", "to": "traits", "counted": {}})
    text = (tmp_path / "train.csv").read_text().splitlines()
    text = [text[0]] + [
        ",".join([*line.split(",")[:2], "", *line.split(",")[3:]]) if i < 30 else line
        for i, line in enumerate(text[1:])
    ]
    (tmp_path / "train.csv").write_text("\n".join(text) + "\n")
    with pytest.raises(UserError, match=r"relatedness.0.counted: no training input is annotated for both kind and tr"):
        steps.run(case, fresh=False)


# ---- estimated from disjoint data


def test_relate_estimates_the_digits_traits_without_a_table_and_the_case_can_use_the_file(ray_local, tmp_path):
    settings = ["training.steps=150", "training.seeds=[0]", f"storage.path={tmp_path}/store"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = kindred_here("relate", "digits", "--edge", "digit:traits", "--json", *words)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert "digit predicted (corrected); traits predicted (corrected)" in found["provenance"]
    truth = relatedness_of(load_case("digits").relatedness[0], tasks_of(load_case("digits")))
    inside, errors = [], []
    for digit, row in zip(truth.source.outputs, truth.table.tolist(), strict=True):
        for trait, value in zip(truth.target.outputs, row, strict=True):
            low, high = found["interval"][digit][trait]
            inside.append(low - 1e-6 <= value <= high + 1e-6)
            errors.append(abs((found["table"][digit].get(trait, 0.0)) - value))
    assert np.mean(inside) > 0.75
    assert np.mean(errors) < 0.1
    assert list((tmp_path / "store").glob("*/relate/digit-to-traits.png"))
    given = yaml.safe_load(find_case_file("digits").read_text())
    given["relatedness"] = [{"from": "digit", "to": "traits", "file": found["file"]}]
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(given))
    again = table_of(load_case(str(tmp_path / "again.yaml")))
    assert again[3, 1].item() == pytest.approx(found["table"]["3"]["prime"])


@pytest.mark.parametrize(
    ("edges", "overrides", "words"),
    [
        (["digit:trait"], [], "--edge digit:trait: found 'trait', no such task; did you mean 'traits'"),
        (["digit"], [], "--edge digit: found '', no such task"),
        (["digit:digit"], [], "found the same task twice"),
        (
            [],
            ["relatedness=[]", "arms={single-task: {networks: one_per_task}}"],
            "relatedness: found no edge to estimate",
        ),
        ([], ["evaluation.baseline=naive"], "arms.naive.networks: found 'shared'"),
    ],
)
def test_what_relate_cannot_estimate_is_told_before_anything_starts(edges, overrides, words):
    with pytest.raises(UserError, match=words):
        edges_asked_for(load_case("digits", overrides), edges)


def test_a_large_case_is_kept_as_json_too_which_counts_while_case_yaml_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_case, "LARGE", 2000)
    tasks = {"who": {"kind": "multiclass", "classes": [f"p{i}" for i in range(30)]}, "traits": BIRDS["traits"]}
    table = {f"p{i}": {"black": i % 2, "swims": 0.123456789} for i in range(30)}
    case = case_of(tmp_path, tasks, [{"from": "who", "to": "traits", "table": table}])
    folder = tmp_path / "kept"
    kept_case.write_case(str(folder), case)
    assert begun_case(str(folder)).relatedness == case.relatedness
    kept = (folder / "case.yaml").read_text()
    content = json.loads((folder / "case.json").read_text())["case"]
    assert content == yaml.load(kept, Loader=yaml.SafeLoader)
    (folder / "case.yaml").write_text(kept.replace("steps: 1\n", "steps: 77\n"))
    assert begun_case(str(folder)).training.steps == 77
