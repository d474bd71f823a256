import os

from pipelines.sources.fetch import fetch
from pipelines.sources.tree import Tree


def test_a_file_that_has_changed_since_it_was_listed_is_read_whole(tmp_path):
    before = {"as it was": 5000, "empty": 0, "grown": 5000, "shrunk": 5000, "of nothing": 0, "to nothing": 5000}
    now = before | {"grown": 3_000_000, "shrunk": 100, "of nothing": 70, "to nothing": 0}
    for name, size in before.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    files = Tree(str(tmp_path)).files
    for name, size in now.items():
        if size != before[name]:
            (tmp_path / name).write_bytes(os.urandom(size))
    found = dict(zip(files["name"].to_pylist(), fetch(files), strict=True))
    assert {name: len(content) for name, content in found.items()} == now
    assert all(content == (tmp_path / name).read_bytes() for name, content in found.items())


def test_a_file_that_is_gone_is_a_rows_failure(tmp_path):
    for name in ("gone", "there"):
        (tmp_path / name).write_bytes(b"1")
    files = Tree(str(tmp_path)).files
    (tmp_path / "gone").unlink()
    gone, there = fetch(files)
    assert isinstance(gone, FileNotFoundError)
    assert there == b"1"
