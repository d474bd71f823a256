"""A record that is cut short is made again, or told with the file to delete; never a raw exception of JSON."""

from types import SimpleNamespace

import pytest

from pipelines.base.errors import UserError
from pipelines.blocks.datasets import read_data_sets
from pipelines.blocks.manifest import MANIFEST, read_manifest
from pipelines.evaluate.results import read_results
from pipelines.experiment.run import RECORD, read_record
from pipelines.ingest.finish import _outcomes

DAMAGED = ["", "{", '{"run": {"arm": "na', "[]", "null", "{}", "\0\0\0", "[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_record_counts_as_not_there_and_is_told(content, tmp_path, capsys):
    for name, read in (
        (MANIFEST, lambda: read_manifest(str(tmp_path))),
        (RECORD, lambda: read_record(str(tmp_path))),
        ("record.json", lambda: read_data_sets(str(tmp_path / "record.json"))),
    ):
        assert read() is None
        assert capsys.readouterr().err == ""
        (tmp_path / name).write_text(content)
        assert read() is None
        assert f"{tmp_path / name}: cut short or damaged" in capsys.readouterr().err


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_result_or_chunk_is_one_message_with_its_file(content, tmp_path):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match=r"results\.json: cut short"):
        read_results(str(tmp_path))
    (tmp_path / "abc.json").write_text(content)
    listed = SimpleNamespace(name="pets", chunks=[SimpleNamespace(key="abc")])
    with pytest.raises(UserError, match=r"abc\.json: cut short or damaged; delete the file"):
        _outcomes(listed, str(tmp_path), {})
