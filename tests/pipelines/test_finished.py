"""What `kindred run` notes of a finished case is the answer until anything that it depends on changes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.experiment.finished import finished, note_finished

FILES = ("table.yaml", "data/a.csv", "data/deep/b.jpg", "data/store/blocks/x.arrow", "data/store/birds-1/r.json")
CASE = "name: birds\ndata_root: data\nrelatedness: table.yaml\nstorage: {path: %s}\n"


@pytest.fixture
def case(tmp_path, monkeypatch):
    """A case file that has been run to its end: what it names, blocks and an experiment lie there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "birds.yaml").write_text(CASE % (tmp_path / "data" / "store"))
    for name in (
        "table.yaml",
        "data/a.csv",
        "data/deep/b.jpg",
        "data/store/blocks/x.arrow",
        "data/store/birds-1/r.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def note(case, overrides=(), begun=None):
    store = case / "data" / "store"
    begun = time.time() + 60 if begun is None else begun
    blocks = [str(store / "blocks")]
    note_finished(Path("birds.yaml"), overrides, str(store), str(case / "data"), str(store / "birds-1"), blocks, begun)


def ask(case, *overrides):
    return finished("birds.yaml", case, overrides)


def test_the_same_command_has_its_answer_and_another_has_none(case):
    assert ask(case) is None
    note(case)
    assert ask(case) == str(case / "data" / "store" / "birds-1")
    assert ask(case, "training.steps=3") is None
    note(case, ["training.steps=3"])
    assert ask(case, "training.steps=3") is not None
    (case / "data" / "store" / "another-experiment").mkdir()
    assert ask(case) is not None, "what else lies in the storage does not matter"


@pytest.mark.parametrize("changed", ["birds.yaml", *FILES])
@pytest.mark.parametrize("how", ["written", "deleted", "replaced with the same time and size"])
def test_whatever_changes_it_is_done_the_long_way(case, changed, how):
    note(case)
    file = case / changed
    if how == "written":
        file.write_text(file.read_text() + "# more")
    elif how == "deleted":
        file.unlink()
    else:
        before = file.stat()
        file.with_name("new").write_text(file.read_text().swapcase())
        file.with_name("new").replace(file)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ask(case) is None


def test_a_new_file_among_the_data_is_noticed(case):
    note(case)
    (case / "data" / "deep" / "c.jpg").write_text("new")
    assert ask(case) is None


def test_what_changed_while_it_ran_or_is_ones_own_code_or_lies_elsewhere_is_not_noted(case):
    note(case, begun=0)
    assert ask(case) is None
    for words in ("backbone: my.module:Net", "path: s3://bucket/birds"):
        (case / "birds.yaml").write_text(CASE % (case / "data" / "store") + words)
        note(case)
        assert ask(case) is None


def test_it_takes_neither_torch_nor_ray_to_ask():
    code = (
        "import sys; from pathlib import Path\n"
        "import pipelines.cli, pipelines.experiment.finished, pipelines.evaluate.outcome\n"
        "import pipelines.report.results_table, pipelines.housekeeping.listing\n"
        "assert not {'torch', 'ray', 'pandas', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
