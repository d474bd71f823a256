"""The examples run: mtlcore's pieces in other people's training loops, and the notebooks."""

import importlib
import json
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


@pytest.mark.parametrize(
    ("example", "needs"),
    [("with_lightning", ("lightning",)), ("with_hugging_face_trainer", ("transformers", "accelerate"))],
)
def test_an_example_trains_both_tasks_in_somebody_elses_loop(example, needs, monkeypatch):
    for package in needs:
        pytest.importorskip(package)
    monkeypatch.syspath_prepend(EXAMPLES)
    trained = importlib.import_module(example)
    naive, co_trained = trained.train(co_trained=False, epochs=4), trained.train(epochs=4)
    assert naive != co_trained, "the pair's losses take part"
    assert co_trained["species/accuracy"] > 0.5, "chance is a quarter"
    assert co_trained["traits/macro_f1"] > 0.7


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_is_kept_without_outputs(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        assert not cell.get("outputs"), cell["source"]
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_a_notebook_runs(notebook, ray_local, tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    import ray

    # On the Ray that the tests share, as in a program that has one.
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in content.cells for output in cell.get("outputs", ()) if "data" in output]
    assert sum("text/html" in output["data"] for output in shown) >= 3, "tables are shown as such"
