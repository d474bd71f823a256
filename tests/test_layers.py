"""Dependencies point one way: cluster -> pipelines -> tune_spaces and mtlcore; mtlcore imports no Ray."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "mtlcore": {"mtlcore"},
    "tune_spaces": {"tune_spaces"},
    "pipelines": {"pipelines", "mtlcore", "tune_spaces"},
    "cluster": {"cluster", "pipelines"},
}


def imported(file, *, at_once=False):
    """What a file imports; ``at_once``: when it is imported itself, not where a function runs."""
    tree = ast.parse(file.read_text())
    later = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)} if at_once else set()
    for node in ast.walk(tree):
        if id(node) in later:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_the_folders_below_it(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        assert set(imported(file)) & set(MAY_IMPORT) <= MAY_IMPORT[folder], file


def test_mtlcore_needs_only_torch_torchmetrics_and_torchjd():
    allowed = {"mtlcore", "torch", "torchmetrics", "torchjd", "numpy", *sys.stdlib_module_names}
    where_they_are_asked_for = {"safetensors", "timm", "transformers"}
    for file in sorted((ROOT / "mtlcore").rglob("*.py")):
        assert set(imported(file, at_once=True)) <= allowed, file
        assert set(imported(file)) <= allowed | where_they_are_asked_for, file


def test_tune_spaces_need_only_rays_sampling_functions():
    for file in sorted((ROOT / "tune_spaces").rglob("*.py")):
        assert set(imported(file)) <= {"ray", "tune_spaces", *sys.stdlib_module_names}, file


def test_importing_mtlcore_does_not_import_ray():
    code = "import sys, mtlcore; sys.exit(any(name.split('.')[0] == 'ray' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_task_of_the_ingest_imports_no_torch():
    """Two seconds and 200 MB of every worker, for nothing."""
    code = "import sys, pipelines.ingest.make_block; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_neither_torch_nor_ray():
    code = (
        "import sys; sys.argv = ['kindred', '--help']\n"
        "from pipelines.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'ray', 'pydantic', 'numpy'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "ingest" in shown
    assert "submit" in shown
    assert shown.strip().endswith("[]")
