"""A mistake in a case file is told in one line: file, key, what was found, what would be right."""

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.case.build import build_loss
from pipelines.case.case import Case
from pipelines.case.load import as_yaml, find_case_file, load_case
from pipelines.search.tune import check_tunable


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
        ("training.mixing={digit_pictures: 1}", ["training.mixing: 'trait_pictures' is missing", "needs a share"]),
        ("training.mixing={digit_pictures: -1, trait_pictures: 1}", ["training.mixing.digit_pictures: found -1"]),
        ("training.mixing=unifrom", ["training.mixing.kind: found 'unifrom'", "did you mean 'uniform'"]),
        ("training.mixing=3", ["training.mixing.kind: found 3", "proportional, uniform, temperature, shares"]),
        ("training.mixing={kind: temperature}", ["training.mixing.T: missing"]),
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
    assert "lacks a row for class '9'" in told(fine, *data, f"relatedness={edge}")
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


def test_a_missing_case_names_the_nearest():
    assert "did you mean 'digits'" in told(case="digit")


def test_an_arm_says_only_what_differs_from_the_common_matching():
    case = load_case("digits", ["training.matching.sca.tau_co=0.7", "arms.warm={matching: {dm: {tau: 2}}}"])
    assert case.arms["warm"].matching.sca == case.training.matching.sca
    assert case.arms["warm"].matching.sca.tau_co == 0.7
    assert case.arms["warm"].matching.dm.tau == 2
    assert case.arms["co-trained"].matching.dm.tau == 1


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
