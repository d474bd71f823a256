"""Pipes, devices, files without end, YAML and JSON that blow up: wherever a file is named, one message and no wait."""

import os
import re

import pandas as pd
import pytest
import yaml
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.base.plain_json import MOST_BYTES
from pipelines.case.load import SHIPPED_CASES, load_case
from pipelines.search.score import read_counts
from pipelines.search.store import STATE, SearchStore
from pipelines.use.model import Model
from pipelines.use.predict import _outcome
from tests.commands import kindred_here
from tests.pipelines.use.test_model import PICTURES, files_of

DEEP = "[" * 100_000


@pytest.fixture(params=["pipe", "link to a pipe", "link to zeros", "endless"])
def bad(request, tmp_path):
    """Make what no reader gets to the end of, at a path."""

    def make(name):
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if request.param == "pipe":
            os.mkfifo(place)
        elif request.param == "link to a pipe":
            os.mkfifo(tmp_path / f"{place.name}.pipe")
            place.symlink_to(tmp_path / f"{place.name}.pipe")
        elif request.param == "link to zeros":
            place.symlink_to("/dev/zero")
        else:
            with place.open("wb") as file:
                file.truncate(MOST_BYTES + 1)  # takes no room
        return place

    return make


def case_with(tmp_path, **changed):
    content = yaml.safe_load((SHIPPED_CASES / "digits.yaml").read_text()) | changed
    content["storage"] = {"path": str(tmp_path / "store")}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "case.yaml")


@pytest.mark.parametrize("key", ["file", "hierarchy"])
@pytest.mark.parametrize("name", ["table.yaml", "table.csv", "table.tsv"])
def test_a_relatedness_file_is_read_only_where_it_is_a_small_file(bad, key, name, tmp_path):
    if key == "hierarchy" and name != "table.yaml":
        pytest.skip("a hierarchy is a YAML file")
    bad(name)
    file = case_with(tmp_path, relatedness=[{"from": "digit", "to": "traits", key: name}])
    with pytest.raises(UserError, match=rf"{name}.*(no such file|regular file|expected a small file)"):
        load_case(file)


def test_a_file_of_classes_is_read_only_where_it_is_a_small_file(bad, tmp_path):
    bad("classes.txt")
    tasks = {"digit": {"kind": "multiclass", "classes": {"file": "classes.txt"}}}
    with pytest.raises(UserError, match=r"classes\.txt.*(regular file|expected a small file)"):
        load_case(case_with(tmp_path, tasks=tasks))


def test_an_image_that_a_table_names_is_one_rows_problem(bad, tmp_path):
    Image.new("L", (6, 6)).save(tmp_path / "fine.png")
    model = Model([files_of(PICTURES)])
    said = model.predict(pd.DataFrame({"file": [str(tmp_path / "fine.png"), str(bad("bad.png"))]}))
    assert said["kind"].isna().tolist() == [False, True]
    assert re.search("regular file|expected a small file", said["problem"][1])


def test_an_input_that_is_named_itself_or_lies_in_a_folder_is_not_waited_for(bad, tmp_path):
    model, file = Model([files_of(PICTURES)]), bad("pictures/bad.png")
    Image.new("L", (6, 6)).save(tmp_path / "pictures" / "fine.png")
    said = model.predict([str(tmp_path / "pictures")])
    assert said["kind"].notna().sum() == 1
    with pytest.raises(UserError, match=r"(nothing there|no such|regular file|can be read|not there)"):
        model.predict([str(file)])


@pytest.mark.parametrize("command", [["run"], ["inspect"], ["init"], ["import"]], ids=lambda words: words[0])
def test_no_command_waits_for_a_case_or_place_that_is_no_file(bad, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kindred_here(
        *command, str(bad("it.yaml")), *(["--out", "out.yaml"] if command[0] in ("init", "import") else [])
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(f'*{before}' for _ in range(9))}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "m0: &m0 {k: v}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 40))


@pytest.mark.parametrize("text", [BOMB, MERGES, DEEP, f"name: {'9' * 5000}", "a: &a [*a]"], ids=range(5))
def test_yaml_that_blows_up_is_one_message_of_run_too(text, tmp_path):
    """`run` looks first whether the case is finished, and `compare`, `resume` read what lies in a storage."""
    (tmp_path / "case.yaml").write_text(text)
    for words in (
        ("run", str(tmp_path / "case.yaml")),
        ("run", "digits", "--set", f"name={text.splitlines()[-1]}"),
        ("resume", str(tmp_path)),
    ):
        done = kindred_here(*words)
        assert done.returncode == 2, (words, done.stderr)
        assert "not valid YAML" in done.stderr


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", '"x"', DEEP, "9" * 5000], ids=range(8))
def test_damaged_json_of_a_storage_counts_as_not_there(content, tmp_path):
    store = SearchStore(str(tmp_path))
    (tmp_path / "trials").mkdir()
    for name in (STATE, "search.json", "trials/00000.json", "key.json"):
        (tmp_path / name).write_text(content)
    (tmp_path / "counts-0.safetensors").write_text(content)
    assert store.read_trials() == []
    assert store.read_state() is None
    assert store.read_search() is None
    assert _outcome(str(tmp_path), "key") is None
    assert read_counts(str(tmp_path), 0) is None
