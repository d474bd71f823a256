"""cluster/skypilot.yaml: against SkyPilot itself where it is installed, and against the package everywhere."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.submit import load_for_cluster

ROOT = Path(__file__).parents[2]
FILE = ROOT / "cluster" / "skypilot.yaml"


@pytest.fixture
def task() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


def test_skypilot_takes_it() -> None:
    sky = pytest.importorskip("sky", reason="SkyPilot is not installed")
    assert sky.Task.from_yaml(str(FILE)).num_nodes == 2


@pytest.mark.parametrize("part", ["setup", "run"])
def test_its_commands_are_a_shells(task: dict[str, Any], part: str) -> None:
    subprocess.run(["bash", "-n", "-c", task[part]], check=True)


def test_what_it_installs_is_pinned_and_the_token_stands_in_no_file(task: dict[str, Any]) -> None:
    assert "--constraint constraints.txt" in task["setup"]
    assert "RAY_AUTH_MODE=token" in task["run"]
    assert task["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert not any("TOKEN" in name or "KEY" in name for name in task["envs"])


def test_its_case_and_options_are_ones_that_kindred_takes(task: dict[str, Any]) -> None:
    env = task["envs"]
    assert "kindred" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    flags, options = env["KINDRED_OPTIONS"].split()[::2], env["KINDRED_OPTIONS"].split()[1::2]
    assert set(flags) == {"--set"}
    case = load_for_cluster(env["KINDRED_CASE"], [f"storage.path={env['KINDRED_STORAGE']}", *options])
    assert case.training.workers == task["num_nodes"]
