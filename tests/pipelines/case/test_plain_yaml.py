"""A hostile YAML file ends in one message with file and line, before anything large is built of it."""

import json
import os
import resource
import subprocess
import sys

import pytest

from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import MAX_DEPTH, parse_yaml
from pipelines.case.load import load_case, read_yaml

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 12))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000))

HOSTILE = {
    "aliases": (ALIASES, "1,000,000 nodes"),
    "merges": (MERGES, "1,000,000 nodes"),
    "chain": (CHAIN, "deep"),
    "recursive list": ("name: &a [*a]", "line 1, column 11: not valid YAML: the alias *a stands within"),
    "recursive mapping": ("name: &a\n  b: *a", "line 2, column 6: not valid YAML: the alias *a stands within"),
    "recursive merge": ("name: &a\n  <<: *a", "line 2"),
    "brackets": ("[" * 5000, "line 1, column 101: not valid YAML: nested more than 100 deep"),
    "braces": ("{a: " * 5000, "deep"),
    "dashes": ("- " * 5000, "deep"),
    "digits": (f"name: {'9' * 5000}", "line 1, column 7: not valid YAML: a number of 5,000 characters"),
    "digits by tag": (f'name: !!int "{"9" * 5000}"', "a number of 5,000 characters"),
    "digits in a list": (f"a: 1\nb: [{'9' * 5000}]", "line 2, column 5"),
    "set": ("name: !!set {a, b}", "found the tag !!set"),
    "omap": ("name: !!omap [a: 1]", "found the tag !!omap"),
    "binary": ("name: !!binary aGVsbG8=", "found the tag !!binary"),
    "python": ("name: !!python/object/apply:os.system [true]", "found the tag !!python/object/apply:os.system"),
    "own tag": ("name: !mine a", "line 1, column 7"),
    "no int": ("name: !!int abc", "line 1, column 7: not valid YAML: found 'abc', which is no int"),
    "no bool": ("name: !!bool abc", "which is no bool"),
    "no date": ("name: 2024-99-99", "found '2024-99-99', which is no timestamp"),
    "list as mapping": ("name: !!map [a]", "line 1"),
    "mapping as list": ("name: !!seq {a: 1}", "line 1"),
    "mapping as number": ("name: !!int {a: 1}", "line 1"),
    "two documents": ("a: 1\n---\nb: 1", "line 2"),
    "control character": ("a: \0", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_one_message_with_its_line(text, words, tmp_path):
    file = tmp_path / "case.yaml"
    file.write_text(text)
    for read in (read_yaml, lambda path: load_case(str(path))):
        with pytest.raises(UserError) as caught:
            read(file)
        assert str(caught.value).startswith(str(file))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


def test_what_is_left_is_what_safe_load_reads():
    text = "a: &a {x: 1, y: [1.5, null, yes]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\nd: 0x1f\n'=': 'text'\n"
    right = {"x": 1, "y": [1.5, None, True]}
    read = parse_yaml(text, "text")
    assert read == {"a": right, "b": right | {"x": 2}, "c": [right, right], "d": 31, "=": "text"}
    assert read["c"][0] is not read["c"][1]
    assert read["c"][0]["y"] is not read["a"]["y"]
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_yaml(deep, "text") == json.loads(deep)


@pytest.mark.parametrize("key", ["relatedness.0.file", "relatedness.0.hierarchy"])
@pytest.mark.parametrize("kind", ["aliases", "merges", "brackets", "digits"])
def test_tables_and_hierarchies_have_the_same_door(key, kind, tmp_path):
    text, words = HOSTILE[kind]
    (tmp_path / "table.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_case("digits", (f"relatedness=[{{from: digit, to: traits, {key.split('.')[2]}: {tmp_path}/table.yaml}}]",))
    assert "table.yaml, line" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["aliases", "merges", "brackets", "digits", "set"])
def test_a_value_on_the_command_line_has_the_same_door(kind):
    text, words = HOSTILE[kind]
    with pytest.raises(UserError, match=words) as caught:
        load_case("digits", (f"name={text}",))
    assert str(caught.value).startswith("--set name=")


def test_the_command_ends_with_code_2_in_bounded_memory(tmp_path):
    (tmp_path / "case.yaml").write_text(ALIASES)
    run = subprocess.run(
        [sys.executable, "-m", "pipelines", "ingest", str(tmp_path / "case.yaml")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (4 << 30, 4 << 30)),
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert "case.yaml, line" in run.stderr
    assert "1,000,000 nodes" in run.stderr
