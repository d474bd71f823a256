"""Snippets of the documentation: YAML parses, Python compiles, commands and their options are there."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from pipelines.cli import _add_commands_from_above, app

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "cluster/README.md"])


def blocks(page, language):
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page.read_text())


@pytest.fixture(scope="module")
def commands():
    """The options of every command."""
    _add_commands_from_above()
    group = typer.main.get_command(app)
    common = {option for parameter in group.params for option in parameter.opts} | {"-h", "--help"}
    return {
        name: common | {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    } | {"": common}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_command_that_is_shown_is_there_with_its_options(page, commands):
    text = page.read_text()
    lines = [line.strip() for block in re.findall(r"(?ms)^```\w*\n(.*?)^```", text) for line in block.splitlines()]
    lines += re.findall(r"`(kindred [^`\n]+)`", text) + re.findall(r"(?m)^    (kindred .*)$", text)
    for line in lines:
        if not line.startswith("kindred "):
            continue
        words = shlex.split(line.split("#")[0].split("|")[0])[1:]
        name = next((word for word in words if not word.startswith("-")), "")
        assert name in commands, line
        for option in (word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)):
            assert option in commands[name], line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_yaml_parses_and_python_compiles(page):
    for block in blocks(page, "yaml"):
        list(yaml.safe_load_all(block))
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")
