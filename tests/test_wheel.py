"""The wheel, installed in an environment of its own, in a folder that holds files named like our packages."""

import subprocess
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

from pipelines.base.own_packages import import_own_packages, worker_environment
from tests.wheel import build, install, outside


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return build(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def command(published, tmp_path_factory):
    return install(published[0], tmp_path_factory.mktemp("installed"))


@pytest.fixture
def users_folder(tmp_path):
    """Where a user works: a folder and a file of their own that are named like packages of ours."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "__init__.py").write_text("raise SystemError('not the package that is installed')")
    (tmp_path / "cluster.py").write_text("raise SystemError('not the package that is installed')")
    return tmp_path


def called(command, *arguments, folder):
    return subprocess.run(
        [command, *arguments], cwd=folder, env=outside(), capture_output=True, text=True, check=False, timeout=400
    )


def test_the_wheel_holds_what_is_read_at_run_time_and_the_sdist_what_is_needed_to_work_on_it(published):
    wheel, sdist = published
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("mtlcore", "tune_spaces", "pipelines", "cluster")
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == set(packages)
    assert {f"{package}/py.typed" for package in packages} <= names
    assert {
        "pipelines/cases/digits.yaml",
        "pipelines/cases/cifar10.yaml",
        "pipelines/cases/faces_attributes.csv",
        "pipelines/cases/studies/focus.yaml",
        "pipelines/cases/case.schema.json",
        "pipelines/report/report.html.j2",
        "mtlcore/__init__.pyi",
        *(
            f"cluster/{name}"
            for name in ("aws.yaml", "rayjob.yaml", "raycluster.yaml", "slurm.sh", "skypilot.yaml", "Dockerfile")
        ),
    } <= names
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "LICENSE", "README.md", ".ci/run", "tests/conftest.py"} <= held
    assert {"tests/cluster/rayjob_schema.yaml", "docs/method.md", "pyproject.toml"} <= held


def test_the_command_says_its_version_and_help_in_any_folder(command, users_folder):
    assert called(command, "--version", folder=users_folder).stdout.startswith("kindred 0.")
    shown = called(command, "--help", folder=users_folder)
    assert shown.returncode == 0, shown.stderr
    assert "submit" in shown.stdout


@pytest.mark.starts_ray
def test_a_users_own_pipelines_and_cluster_do_not_stand_in_the_place_of_ours_on_workers(command, users_folder):
    done = called(command, "ingest", "digits", "--set", "storage.path=store", folder=users_folder)
    assert done.returncode == 0, done.stderr
    assert "digit_pictures: 50 rows" in done.stdout


def test_workers_are_asked_to_look_for_ours_first_only_where_something_hides_them(monkeypatch, tmp_path):
    """A setup hook costs workers that Ray has started already."""
    monkeypatch.chdir(tmp_path)
    assert worker_environment() == {}
    (tmp_path / "cluster.py").write_text("")
    (hook,) = worker_environment().values()
    module, _, name = hook.rpartition(".")
    assert getattr(import_module(module), name) is import_own_packages
    monkeypatch.chdir(Path(__file__).parents[1])
    assert worker_environment() == {}, "in the checkout, what the working folder holds is ours"
