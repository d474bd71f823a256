"""The code of docs/python.md runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "python.md"


def test_the_pages_example_of_data_in_memory_runs(ray_local, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(
        part for part in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "def leaves" in part
    )
    names: dict = {}
    exec(code, names)
    table = names["result"].table
    assert table.loc[("kind", "co-trained"), "score"] > 0.8


def test_every_name_of_the_page_is_there():
    import pipelines

    for name in set(re.findall(r"pipelines\.(\w+)", PAGE.read_text())):
        assert getattr(pipelines, name) is not None
