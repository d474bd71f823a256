"""A mistake in a case file is told in one line: file, key, what was found, what would be right."""

import sys
from collections import Counter
from importlib.machinery import ModuleSpec

import pytest
import torch
import yaml

from mtlcore import Multiclass, Multilabel, Relatedness
from pipelines.base.errors import UserError
from pipelines.case.build import build_loss
from pipelines.case.case import Case
from pipelines.case.checks import check_machine
from pipelines.case.load import as_yaml, find_case_file, load_case, load_content
from pipelines.case.notes import nested_rows
from pipelines.search.tune import check_tunable
from pipelines.sources.list_source import list_source
from pipelines.sources.text_tables import CsvTable


def told(*overrides, case="digits"):
    with pytest.raises(UserError) as caught:
        load_case(case, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("training.stepz=3", ["digits.yaml: training: unknown key 'stepz'", "did you mean 'steps'"]),
        ("training.steps=0", ["training.steps: found 0", "greater than or equal to 1"]),
        ("training.optimizer.lr=yes", ["training.optimizer.lr: found True", "expected a number"]),
        ("training.seeds=[1, 1]", ["training.seeds: found [1, 1]", "every seed once"]),
        ("training.batch_size=1", ["training.batch_size: found 1", "at least one row"]),
        ("training.mixing={digit_picture: 1, trait_pictures: 1}", ["'digit_picture'", "did you mean 'digit_pictures'"]),
        ("training.mixing={digit_pictures: 1}", ["training.mixing: 'trait_pictures' is missing", "expected a share"]),
        ("training.mixing={digit_pictures: -1, trait_pictures: 1}", ["training.mixing.digit_pictures: found -1"]),
        ("training.mixing=unifrom", ["training.mixing.kind: found 'unifrom'", "did you mean 'uniform'"]),
        ("training.mixing=3", ["training.mixing.kind: found 3", "proportional, uniform, temperature, shares"]),
        ("training.mixing={kind: temperature, T: 0}", ["training.mixing.T: found 0", "greater than 0"]),
        ("training.mixing={kind: uniform, T: 2}", ["training.mixing: unknown key 'T'"]),
        ("training.mixing={kind: uniform, max_repeats: 0.5}", ["training.mixing.max_repeats: found 0.5", "equal to 1"]),
        ("training.task_weights={trait: 1}", ["training.task_weights: found 'trait'", "did you mean 'traits'"]),
        ("tasks.digit.kind=multi", ["tasks.digit.kind: found 'multi'", "multiclass"]),
        ("tasks.digit.classes=[a, a]", ["tasks.digit.classes: found 'a' twice"]),
        ("tasks.traits.labels=[on]", ["tasks.traits.labels.0: found True", "put it in quotes"]),
        ("name=a/b", ["name: found 'a/b'"]),
        ("datasets.test_pictures.labels.digits={from: folder}", ["no such task", "did you mean 'digit'"]),
        ("datasets.test_pictures.source.kind=cvs", ["source.kind: found 'cvs'", "did you mean 'csv'"]),
        ("datasets.test_pictures.split=train", ["found none of split 'test' labelled for task 'digit'"]),
        ("datasets.digit_pictures.labels.digit.from=columns", ["labels.digit.from: found 'columns'", "'folder'"]),
        ("relatedness.0.to=trait", ["relatedness.0.to: found 'trait'", "did you mean 'traits'"]),
        ("relatedness.0.to=digit", ["relatedness.0.to: found 'digit', the source itself"]),
        ("relatedness.0.table.3={prme: 1}", ["relatedness.0.table", "row '3': 'prme'", "did you mean 'prime'"]),
        ("relatedness.0.table.3={prime: 2}", ["row '3', cell 'prime': found 2", "[0, 1]"]),
        ("relatedness.0.file=tabel.yaml", ["digits.yaml"]),
        ("network.backbone=vgg", ["network.backbone: found 'vgg'", "small_cnn"]),
        ("network={backbone: small_cnn, widths: [8, 8, 8, 8]}", ["network.widths: found 4 stages", "at most 3"]),
        ("arms.co-trained.matching.dm.wieght=1", ["arms.co-trained.matching.dm: unknown key 'wieght'", "'weight'"]),
        ("training.balancing.method=upgrade", ["training.balancing.method: found 'upgrade'", "did you mean 'upgrad'"]),
        ("training.balancing.metod=upgrad", ["training.balancing: unknown key 'metod'", "did you mean 'method'"]),
        ("training.balancing={method: dwa, lr: 0.1}", ["training.balancing.lr: found", "'dwa' has no such option"]),
        (
            "training.balancing={method: cagrad, c: -1}",
            ["training.balancing.c: found -1", "greater than or equal to 0"],
        ),
        ("arms.naive.balancing={method: krum}", ["arms.naive.balancing.method: 'krum' needs 3 objectives"]),
        ("arms.naive.balancing={method: gradvac, beta: 2}", ["arms.naive.balancing.", "must be in [0, 1]"]),
        (
            "training.balancing={method: upgrad, pref_vector: {digits: 1}}",
            ["training.balancing.pref_vector: found 'digits', no such objective", "did you mean 'digit'"],
        ),
        ("evaluation.baseline=single", ["evaluation.baseline: found 'single'", "did you mean 'single-task'"]),
        ("tuning.space=mathcing", ["tuning.space: found 'mathcing'", "did you mean 'matching'"]),
        ("tasks.input={kind: multiclass, classes: [a]}", ["tasks.input: the name is taken"]),
        (
            "datasets.test_pictures.labels.traits={from: columns, through: digit}",
            ["labels.traits.from: found 'columns' with 'through'"],
        ),
        ("nokeyvalue", ["--set nokeyvalue: not of the form"]),
        ("relatedness.5.to=x", ["relatedness is a list of 1", "found '5'"]),
        ("training.lr=0.1", ["training: unknown key 'lr'", "the learning rate is training.optimizer.lr"]),
        ("training.learning_rate=0.1", ["unknown key 'learning_rate'", "training.optimizer.lr"]),
        ("training.epochs=10", ["training: unknown key 'epochs'", "training.steps, a number of updates"]),
        ("training.seed=1", ["unknown key 'seed'", "did you mean 'seeds'"]),
        ("training.steps=ten", ["training.steps: found 'ten'; expected a whole number"]),
        ("training.steps=1.5e0", ["training.steps: found", "expected a whole number"]),
        ("training.seeds=3", ["training.seeds: found 3; expected a list, such as [3]"]),
        ("training.optimizer=adamw", ["training.optimizer: found 'adamw'; expected {name: adamw, lr: 0.001}"]),
        ("network=mlp", ["network: found 'mlp'; expected {backbone: mlp, widths: [64]}"]),
        ("relatedness={from: digit, to: traits}", ["relatedness: found", "expected a list of edges, [{from: TASK"]),
        (
            "datasets.test_pictures.labels.digit=folder",
            ["labels.digit: found 'folder'; expected {from: folder}, {from: column, column: NAME}, or {from: columns}"],
        ),
        ("tasks.digit=[0, 1]", ["tasks.digit: found [0, 1]; expected {kind: multiclass, classes: [...]}"]),
        ("tasks.digit.classes=0", ["tasks.digit.classes: found 0; expected a list"]),
        ("arms.naive=none", ["arms.naive: found 'none'; expected {matching: none}"]),
        ("arms.naive.matching=off", ["arms.naive.matching: found False; expected none (no loss of related tasks)"]),
        ("arms.naive.matching=null", ["arms.naive.matching: found None; expected none"]),
        ("tuning.space={training.optimizer.lrr: {uniform: [0, 1]}}", ["training.optimizer.lrr", "did you mean 'lr'"]),
        (
            "tuning.space={tasks.digit.classes: {choice: [[a]]}}",
            ["tuning.space: tasks.digit.classes", "expected a key"],
        ),
        ("tuning.space={training.optimizer.lr: {uniform: [1]}}", ["found [1]; expected [low, high], two numbers"]),
        ("tuning.space={training.optimizer.lr: {loguniform: [0, 1]}}", ["found a low end of 0; expected one over 0"]),
        ("tuning.space={training.optimizer.lr: {normal: [0, 1]}}", ["training.optimizer.lr: found", "{choice: ["]),
        ("tuning.space={network.head.hidden: {choice: []}}", ["choice: found []; expected a list of values"]),
        (
            "tuning.space={training.clip_norm: {uniform: [1, 2], when: {training.batch_size: 3}}}",
            ["when: found 'training.batch_size', which is not searched before it"],
        ),
        ("tuning.search=optna", ["tuning.search: found 'optna'", "did you mean 'optuna'"]),
        ("tuning.objective=digits", ["tuning.objective: found 'digits'", "did you mean 'digit'"]),
        ("tuning.objective=digit.acuracy", ["tuning.objective: found 'acuracy'", "did you mean 'accuracy'"]),
        ("tuning.scheduler=asha", ["tuning.scheduler: found 'asha'", "training.validation.every_steps is not set"]),
        ("tuning.arm=co-traned", ["tuning.arm: found 'co-traned', no such arm", "did you mean 'co-trained'"]),
        ("embedded=null", ["datasets.digit_pictures.source.path: found 'digits'", "data_root=DIR"]),
    ],
)
def test_a_mistake_is_told_by_file_key_found_and_right(override, words):
    message = told(override)
    for word in words:
        assert word in message


def test_a_row_over_classes_must_sum_to_one_and_every_class_needs_one():
    fine = "tasks.parity={kind: multiclass, classes: [evn, odd]}"
    labels = "labels.parity={from: column, column: parity}"
    data = [f"datasets.{name}.{labels}" for name in ("trait_pictures", "test_pictures")]
    rows = {str(d): {"evn": 1.0} for d in range(9)}
    edge = yaml.safe_dump([{"from": "digit", "to": "parity", "table": rows}], default_flow_style=True, width=10**6)
    message = told(fine, *data, f"relatedness={edge}")
    assert "lacks a row for class '9' of 'digit'; expected one: `9: null` where it is unknown" in message
    assert "[]" not in message, "a class of the other task holds in any case"
    rows["9"] = {"evn": 0.5}
    edge = yaml.safe_dump([{"from": "digit", "to": "parity", "table": rows}], default_flow_style=True, width=10**6)
    message = told(fine, *data, f"relatedness={edge}")
    assert "row '9': sums to 0.5; a row over the classes of 'parity' must sum to 1" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [", "line 1, column"),
        ("name: a\nname: b\n", "line 2, column 1: not valid YAML: the key 'name' stands twice"),
        ("- 1\n", "found list; expected a mapping"),
        ("{{x}}: 1\n", "line 1, column 2: not valid YAML: the key {'x': None} is not a name"),
        ("!!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_mapping_in_safe_yaml_is_refused_by_place(tmp_path, text, words):
    file = tmp_path / "case.yaml"
    file.write_text(text)
    message = told(case=str(file))
    assert message.startswith(str(file))
    assert words in message


def test_aliases_and_merge_keys_are_read_and_what_they_share_is_overridden_alone(tmp_path):
    text = find_case_file("digits").read_text()
    text = text.replace("labels: {digit: {from: column", "labels: &both {digit: {from: column", 1)
    first, second = text.split("    split: validation")
    test_labels = "labels: {digit: {from: column, column: digit}, traits: {from: columns}}"
    assert test_labels in second
    file = tmp_path / "case.yaml"
    file.write_text(first + "    split: validation" + second.replace(test_labels, "labels: {<<: *both}", 1))
    case = load_case(str(file), ["datasets.test_pictures.labels.digit.column=other"])
    assert case.datasets["test_pictures"].labels["digit"].column == "other"
    assert case.datasets["validation_pictures"].labels["digit"].column == "digit"


def test_opposite_edges_between_two_tasks_are_refused():
    table = {"a": "x", "b": "y"}
    back = {"x": "a", "y": "b"}
    edges = [{"from": "A", "to": "B", "table": table}, {"from": "B", "to": "A", "table": back}]
    two = "tasks={A: {kind: multiclass, classes: [a, b]}, B: {kind: multiclass, classes: [x, y]}}"
    message = told(two, f"relatedness={yaml.safe_dump(edges, default_flow_style=True, width=10**6)}")
    assert "relatedness.1: found a second edge between B and A" in message


def test_one_mistake_is_told_once():
    assert told("training.matching.sca.tau_c0=1").count("\n") == 0
    assert told("tasks.traits.labels=[on]").count("\n") == 0
    assert told("embedded=null", "data_root=digts").count("\n") == 0


def test_a_storage_path_that_is_a_file_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file is a file; expected a folder" in told(f"storage.path={tmp_path}/file/below")


def test_a_missing_row_says_how_to_write_that_nothing_is_known_or_nothing_holds():
    message = told("relatedness=[{from: digit, to: traits, table: {0: [even]}}]")
    assert "lacks a row for class '1' of 'digit'; expected one: `1: null` where it is unknown, or `1: []`" in message


def test_numbers_in_scientific_notation_are_numbers():
    training = load_case("digits", ["training.steps=1e3", "training.optimizer.lr=1e-3"]).training
    assert (training.steps, training.optimizer.lr) == (1000, 0.001)


VECTORS = """
name: vectors
input: {kind: vector, size: 2}
tasks: {side: {kind: multiclass, classes: [left, right]}}
datasets:
  a: {source: &table {kind: csv, path: a.csv, vector_columns: [x, y]}, labels: {side: {from: column, column: side}}}
  b: {source: *table, labels: {side: {from: column, column: side}}, split: test}
training: {steps: 1, batch_size: 2}
"""


def test_the_default_backbone_follows_the_input_and_one_of_images_is_refused_for_vectors(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,side\n0,1,left\n")
    file = tmp_path / "case.yaml"
    file.write_text(VECTORS)
    assert load_case(str(file)).network.backbone == "mlp"
    assert load_case(str(file), ["network.head.hidden=[8]"]).network.backbone == "mlp"
    message = told("network.backbone=small_cnn", case=str(file))
    assert "network.backbone: found 'small_cnn', which takes images, and inputs are vectors of 2 numbers" in message


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("file;black;swims\na.png;1;0\n", ["found one column, 'file;black;swims'", 'source.delimiter: ";"']),
        (
            "path,black,swims\na.png,1,0\n",
            ["there is no column 'file'", "valid: path, black", "source.file_column says which"],
        ),
    ],
)
def test_a_table_of_another_form_names_the_key_that_reads_it(tmp_path, table, words):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(UserError) as caught:
        list_source(str(tmp_path), CsvTable(kind="csv", path="t.csv"))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_training_needs_is_looked_for_on_this_machine(monkeypatch):
    assert check_machine(load_case("digits")) == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    (problem,) = check_machine(load_case("digits", ["training.compile=true"]))
    assert problem.startswith("training.compile: found true, and there is no C++ compiler 'no-such-compiler'")
    if not torch.cuda.is_available():
        (problem,) = check_machine(load_case("digits", ["training.device=cuda"]))
        assert problem.startswith("training.device: found 'cuda' for 1 workers, and torch finds 0 GPUs")


def test_wandb_that_is_not_installed_is_told_before_training(monkeypatch):
    """In a Python that finds a folder `wandb` alone, as an earlier run leaves one: that is no package."""

    class AFolderAlone:
        def find_spec(self, name, path=None, target=None):
            return ModuleSpec(name, None, is_package=True) if name == "wandb" else None

    monkeypatch.setattr(sys, "meta_path", [AFolderAlone(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    (told_of,) = check_machine(load_case("digits", ["logging.wandb.mode=offline"]))
    assert "logging.wandb.mode: found 'offline', and wandb is not installed; pip install" in told_of


def test_a_missing_case_names_the_nearest():
    assert "did you mean 'digits'" in told(case="digit")


def test_an_arm_says_only_what_differs_from_the_common_matching():
    case = load_case("digits", ["training.matching.sca.tau_co=0.7", "arms.warm={matching: {dm: {tau: 2}}}"])
    assert case.arms["warm"].matching.sca == case.training.matching.sca
    assert case.arms["warm"].matching.sca.tau_co == 0.7
    assert case.arms["warm"].matching.dm.tau == 2
    assert case.arms["co-trained"].matching.dm.tau == 1


def test_an_arm_that_is_set_is_added_to_the_default_arms():
    plain = load_case("digits", ["arms=null"])
    more = load_case("digits", ["arms=null", "arms.warm={matching: {dm: {tau: 2}}}", "arms.naive.balancing=pcgrad"])
    assert list(more.arms) == [*plain.arms, "warm"]
    assert more.arms["naive"].balancing.method == "pcgrad"
    assert more.arms["co-trained"] == plain.arms["co-trained"]


def test_the_device_is_chosen_where_the_case_says_auto(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    gpus = torch.cuda.device_count()
    assert load_case("digits", ["training.device=auto"]).training.device == ("cuda" if gpus else "cpu")
    many = load_case("digits", ["training.device=auto", f"training.workers={gpus + 1}"])
    assert many.training.device == "cpu", "there is not one for every worker"


EVERY_LOSS = [f"training.matching.{loss}.weight=0.5" for loss in ("dm", "sca", "ill")]


@pytest.mark.parametrize("arms", [[], ["arms=null"]], ids=["of the file", "default"])
def test_the_naive_arm_has_no_related_pair_whatever_training_says(arms):
    """Not a pair whose weights are zero: then a loss that is added later would take part."""
    case = load_case("digits", [*EVERY_LOSS, *arms])
    for reread in (case, Case.model_validate(yaml.safe_load(as_yaml(case)))):
        loss = {name: build_loss(case, list(case.tasks), arm.matching, {}) for name, arm in reread.arms.items()}
        assert loss["naive"].pairs == ()
        assert loss["naive"].objective_names == ("digit", "traits")
        assert len(loss["co-trained"].pairs) == 1


def test_an_arm_without_matching_cannot_be_tuned_and_says_so():
    with pytest.raises(UserError, match=r"tuning.arm: found 'naive', an arm with matching: none"):
        check_tunable(load_case("digits", ["tuning.arm=naive"]))


def test_a_relatedness_file_is_read_relative_to_the_case_file(tmp_path):
    given = yaml.safe_load(find_case_file("digits").read_text())
    table = given["relatedness"][0].pop("table")
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    given["relatedness"][0]["file"] = "table.yaml"
    file = tmp_path / "case.yaml"
    file.write_text(yaml.safe_dump(given))
    assert load_case(str(file)).relatedness == load_case("digits").relatedness
    given["relatedness"][0]["file"] = "tabel.yaml"
    file.write_text(yaml.safe_dump(given))
    assert "relatedness.0.file: found 'tabel.yaml', no such file" in told(case=str(file))


def test_rows_that_the_papers_score_cannot_tell_apart_are_told_and_only_under_it(capsys):
    load_case("digits", ["training.matching.sca.weight=1"])
    load_case("digits", ["training.matching.sca.source_form=paper"])  # of weight 0
    assert capsys.readouterr().err == ""
    load_case("digits", ["training.matching.sca={weight: 1, source_form: paper}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    assert "digits.yaml: relatedness.0.table: found 0 within 6, 1 within 4" in line
    assert "arm co-trained" in line
    assert "sca.source_form: bayes" in line


def test_equal_rows_are_named_once_and_unknown_cells_are_no_labels():
    A, B = Multiclass("A", ("a", "b", "c", "none")), Multilabel("B", ("l", "m"))
    rows = {"a": {"l": 1}, "b": {"l": 0.5}, "c": {"l": None, "m": 1}, "none": []}
    assert nested_rows(Relatedness.from_rows(A, B, rows)) == (["a like b"], 1)


def test_pairs_of_rows_are_counted_among_thousands_of_classes_and_a_few_are_named():
    generator = torch.Generator().manual_seed(0)
    table = (torch.rand(2500, 6, generator=generator) < 0.5).double()
    A, B = Multiclass("A", tuple(f"a{i}" for i in range(2500))), Multilabel("B", tuple("lmnopq"))
    named, how_many = nested_rows(Relatedness(A, B, table))
    rows = [frozenset(row.nonzero().flatten().tolist()) for row in table]
    counted = Counter(rows)
    within = sum(n * m for a, n in counted.items() for b, m in counted.items() if a and a < b)
    assert how_many == within + sum(n * (n - 1) // 2 for a, n in counted.items() if a)
    assert len(named) == 4
    for words in named:
        c, how, d = words.split()
        a, b = rows[int(c[1:])], rows[int(d[1:])]
        assert a < b if how == "within" else a == b


FACES = {
    "source": {"kind": "csv", "path": "wide.csv"},
    "labels": {"kind": {"from": "column", "column": "kind"}},
    "split": {"fractions": {"train": 0.5, "test": 0.5}, "by": "person", "seed": 3},
    "select": {"where": {"set": "lab"}},
}
OF_TRAITS = {"traits": {"from": "columns"}}


def of_one_table(folder, **datasets):
    (folder / "wide.csv").write_text("file,kind,furry,person,set\na.png,cat,1,p,lab\n")
    return load_content(
        {
            "name": "wide",
            "data_root": str(folder),
            "input": {"height": 4, "width": 4},
            "tasks": {
                "kind": {"kind": "multiclass", "classes": ["cat", "dog"]},
                "traits": {"kind": "multilabel", "labels": ["furry"]},
            },
            "datasets": datasets,
            "network": {"backbone": "mlp", "widths": [4]},
            "training": {"steps": 1, "batch_size": 2},
        },
        str(folder / "wide.yaml"),
    )


def test_one_table_is_several_datasets_without_being_written_down_twice(tmp_path):
    short = of_one_table(tmp_path, faces=FACES, units={"from": "faces", "labels": OF_TRAITS, "select": None})
    long = of_one_table(
        tmp_path,
        faces=FACES,
        units={key: value for key, value in FACES.items() if key != "select"} | {"labels": OF_TRAITS},
    )
    assert short == long
    assert list(short.datasets) == ["faces", "faces-test", "units", "units-test"]
    assert short.datasets["units"].part.by == short.datasets["faces"].part.by == "person"
    chained = of_one_table(
        tmp_path, third={"from": "units", "split": "test"}, units={"from": "faces", "labels": OF_TRAITS}, faces=FACES
    )
    assert chained.datasets["third"].source == chained.datasets["faces"].source
    assert set(chained.datasets["third"].labels) == {"traits"}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("face", "datasets.units.from: found 'face'; expected another dataset; did you mean 'faces'?"),
        (["faces"], "datasets.units.from: found ['faces']; expected another dataset"),
        ("units", "datasets.units.from: found a circle, units -> units"),
        ("third", "datasets.units.from: found a circle, units -> third -> units"),
    ],
)
def test_a_dataset_from_nowhere_is_told(tmp_path, other, words):
    third = {"from": "units"}
    with pytest.raises(UserError) as told:
        of_one_table(tmp_path, faces=FACES, units={"from": other, "labels": OF_TRAITS}, third=third)
    assert words in str(told.value)
