"""Imports point one way: between the four packages, and between the folders of each.

The one ordered list is ORDER. A folder (or a module beside folders) imports only what stands before it.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    "mtlcore.tasks",
    "mtlcore.distributed",
    "mtlcore.suggestions",
    "mtlcore.registry",
    "mtlcore.relatedness",
    "mtlcore.losses",
    "mtlcore.networks",
    "mtlcore.exported",
    "mtlcore.metrics",
    "mtlcore.diagnostics",
    "mtlcore.balancing",
    "mtlcore",
    "tune_spaces",
    "pipelines.base",
    "pipelines.sources",
    "pipelines.optimization",
    "pipelines.case",
    "pipelines.blocks",
    "pipelines.batches",
    "pipelines.ingest",
    "pipelines.experiment",
    "pipelines.inspection",
    "pipelines.train",
    "pipelines.evaluate",
    "pipelines.report",
    "pipelines.housekeeping",
    "pipelines.search",
    "pipelines.use",
    "pipelines.commands",
    "pipelines.api",
    "pipelines.cli",
    "pipelines",
    "cluster",
)
PACKAGES = ("mtlcore", "tune_spaces", "pipelines", "cluster")
# Third-party packages that mtlcore imports when a function that needs them is called, and never before.
ON_DEMAND = {"safetensors", "timm", "transformers", "huggingface_hub", "matplotlib"}


def module_of(file):
    """Return a file's dotted name."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(file) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}


def imported(file, *, at_once=False):
    """Yield what a file imports, by dotted name, ``import_module`` with a constant included.

    ``at_once``: only what is imported with the file itself, not where a function runs.
    """
    tree = ast.parse(file.read_text())
    later = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)} if at_once else set()
    for node in ast.walk(tree):
        if id(node) in later:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                yield dotted if dotted in MODULES else node.module
        elif isinstance(node, ast.Call) and isinstance(node.args and node.args[0], ast.Constant):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            yield from [node.args[0].value] * (called == "import_module")


def package_of(name):
    return name.partition(".")[0]


def layer_of(module):
    """Return the entry of ORDER that a module belongs to: the longest that it lies in."""
    return max((entry for entry in ORDER if f"{module}.".startswith(f"{entry}.")), key=len)


@pytest.mark.parametrize("layer", ORDER)
def test_a_folder_imports_only_what_stands_before_it_in_the_order(layer):
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    files = [file for file in files if layer_of(module_of(file)) == layer]
    assert files, f"{layer} is not there: take it out of ORDER"
    if layer in PACKAGES and layer != "tune_spaces":
        beside = {module_of(file) for file in files} - {layer, f"{layer}.__main__"}
        assert layer == "cluster" or not beside, f"{beside}: a new folder or module needs its place in ORDER"
    for file in files:
        for name in imported(file):
            if package_of(name) in PACKAGES and layer_of(name) != layer and name != layer:
                assert ORDER.index(layer_of(name)) < ORDER.index(layer), f"{file} imports {name}"


def test_no_two_files_import_each_other():
    """No circle of any length: every arrow is followed until it ends or comes back."""
    arrows = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            arrows[module_of(file)] = {name for name in imported(file) if name in MODULES} - {module_of(file)}
    done, path = set(), []

    def follow(module):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            path.append(module)
            for name in arrows[module]:
                follow(name)
            done.add(path.pop())

    for module in arrows:
        follow(module)


def test_cluster_and_tune_spaces_keep_to_their_own():
    for file in sorted((ROOT / "cluster").rglob("*.py")):
        assert {package_of(name) for name in imported(file)} & set(PACKAGES) <= {"cluster", "pipelines"}, file
    for file in sorted((ROOT / "tune_spaces").rglob("*.py")):
        assert {package_of(name) for name in imported(file)} <= {"ray", "tune_spaces", *sys.stdlib_module_names}, file


def test_mtlcore_needs_only_torch_torchmetrics_and_torchjd():
    allowed = {"mtlcore", "torch", "torchmetrics", "torchjd", "numpy", *sys.stdlib_module_names}
    for file in sorted((ROOT / "mtlcore").rglob("*.py")):
        assert {package_of(name) for name in imported(file, at_once=True)} <= allowed, file
        assert {package_of(name) for name in imported(file)} <= allowed | ON_DEMAND, file


def test_a_name_without_tensors_imports_no_torch():
    code = "import sys; from mtlcore.suggestions import did_you_mean; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_names_of_mtlcore_and_their_types_agree():
    import mtlcore

    stub = ast.parse((ROOT / "mtlcore" / "__init__.pyi").read_text())
    typed = {(n.module, alias.name) for n in stub.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert typed == {(module, name) for module, names in mtlcore._NAMES.items() for name in names}
    assert all(getattr(mtlcore, name) is not None for name in mtlcore.__all__)


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
