"""The JSON Schema that editors read, and the reference made from it, say what the case file takes."""

import json
import re

import jsonschema
import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.case.load import SHIPPED_CASES, find_case_file, load_case, shipped_cases
from pipelines.case.schema import case_reference, case_schema
from tests.test_layers import ROOT

SCHEMA = case_schema()


def valid(given):
    # As an editor has it: the keys of a mapping are text.
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(json.loads(json.dumps(given)))


def case_with(*changes):
    given = yaml.safe_load(find_case_file("digits").read_text())
    for key_path, value in changes:
        *parents, last = key_path.split(".")
        place = given
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
        place[last] = value
    return given


def test_what_is_committed_is_what_the_command_prints():
    committed = (SHIPPED_CASES / "case.schema.json").read_text()
    assert json.loads(committed) == SCHEMA, "kindred schema > pipelines/cases/case.schema.json"
    reference = (ROOT / "docs" / "case-file.md").read_text()
    assert reference == case_reference(), "kindred schema --markdown > docs/case-file.md"


def test_every_key_has_a_meaning():
    for name, section in {"the case": SCHEMA, **SCHEMA["$defs"]}.items():
        for key, value in section.get("properties", {}).items():
            assert value.get("description"), f"{name}.{key}: say what it means in a string below the field"


@pytest.mark.parametrize("file", shipped_cases(), ids=lambda file: file.stem)
def test_shipped_cases_name_the_schema_and_are_valid_by_it_and_load(file):
    text = file.read_text()
    schema = "case.schema.json" if file.parent == SHIPPED_CASES else "../case.schema.json"
    assert text.startswith(f"# yaml-language-server: $schema={schema}\n")
    jsonschema.validate(json.loads(json.dumps(yaml.safe_load(text))), SCHEMA)
    load_case(str(file.relative_to(SHIPPED_CASES).with_suffix("")), check_paths=False)


def test_cases_in_the_readme_are_valid_by_the_schema():
    cases = re.findall(r"```yaml\n(name: .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert cases
    for text in cases:
        jsonschema.validate(json.loads(json.dumps(yaml.safe_load(text))), SCHEMA)


SHORT_FORMS = [
    ("training.schedule", "cosine"),
    ("training.mixing", "uniform"),
    ("training.mixing", {"digit_pictures": 1, "trait_pictures": 2.5}),
    ("training.mixing", {"kind": "temperature", "T": 2}),
    ("training.workers", [1, 2]),
    ("training.balancing", "upgrad"),
    ("arms.naive.balancing", "pcgrad"),
    ("network.sharing", "mmoe"),
    ("arms.naive.matching", "none"),
    ("arms.naive", None),
    ("datasets.digit_pictures.source.path", ["digits", "digits"]),
    ("tasks.traits.aliases", {"odd one": "even"}),
]


@pytest.mark.parametrize(("key", "value"), SHORT_FORMS)
def test_short_forms_are_valid_by_the_schema_and_load(key, value):
    assert valid(case_with((key, value)))
    load_case("digits", [f"{key}={json.dumps(value)}"])


def test_a_best_metric_alone_is_valid_by_the_schema():
    changes = (("training.best", "digit"), ("training.validation", {"every_steps": 10}))
    assert valid(case_with(*changes))
    load_case("digits", [f"{key}={json.dumps(value)}" for key, value in changes])


@pytest.mark.parametrize("form", ["file", "hierarchy", "through", "table"])
def test_every_form_of_a_table_of_relatedness_is_valid_by_the_schema(form):
    assert valid(case_with(("relatedness", [{"from": "digit", "to": "traits", form: "word", "rows": {0: ["even"]}}])))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.stepz", 3),
        ("training.steps", 0),
        ("training.schedule", "step"),  # needs `every`
        ("training.schedule", "cosin"),
        ("arms.naive.matching", "off"),
        ("datasets.digit_pictures.source.kind", "cvs"),
        ("tasks.digit.classes", [True]),
    ],
)
def test_what_the_schema_refuses_the_command_refuses(key, value):
    assert not valid(case_with((key, value)))
    with pytest.raises(UserError):
        load_case("digits", [f"{key}={json.dumps(value)}"])
