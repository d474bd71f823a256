"""`kindred import` drafts a case that starts from an export, which runs once its data are named."""

import json

import pytest

from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.ingest.ingest import ingested
from pipelines.use.export import export_run
from pipelines.use.start_case import draft_start
from tests.commands import kindred_here


def test_the_drafted_case_is_right_where_the_data_are(case_of, tmp_path, monkeypatch):
    case = case_of("network={backbone: mlp, widths: [16]}", "training.matching.dm.weight=0.5")
    export_run(case, ingested(case), "co-trained", None, None, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    said = kindred_here("import", "model", "--out", "more.yaml")
    assert said.returncode == 0, said.stderr
    drafted = load_case("more.yaml", [f"data_root={case.data_root}"])
    assert drafted.network.pretrained == str(tmp_path / "model")
    assert drafted.network.widths == (16,)
    assert drafted.network.freeze_steps > 0
    assert drafted.tasks == case.tasks
    assert drafted.datasets == case.datasets
    assert drafted.relatedness == case.relatedness
    assert drafted.training.model_copy(update={"seeds": (3,)}) == case.training
    with pytest.raises(UserError, match="which is there; expected a new file"):
        draft_start("model", "more.yaml")


def test_what_is_no_export_is_told(tmp_path):
    with pytest.raises(UserError, match=r"EXPORT: found .* and no network.json there"):
        draft_start(str(tmp_path), str(tmp_path / "case.yaml"))
    (tmp_path / "network.json").write_text("{}")
    with pytest.raises(UserError, match=r"network.json: format: found None"):
        draft_start(str(tmp_path), str(tmp_path / "case.yaml"))


def test_an_exports_code_is_not_named_in_its_place(case_of, tmp_path):
    case = case_of("network={backbone: 'tests.pipelines.use.test_export:backbone', options: {width: 4}}")
    folder = export_run(case, ingested(case), "co-trained", None, None, tmp_path / "model")
    assert json.loads((folder / "network.json").read_text())["network"]["backbone"].endswith(":backbone")
    start = f"network={{pretrained: {folder}}}"
    with pytest.raises(UserError, match=r"network.backbone: missing; the export's is 'tests.* expected it named here"):
        load_case("digits", [f"storage.path={tmp_path}", start, "arms=null"])
    named = f"network={{pretrained: {folder}, backbone: 'tests.pipelines.use.test_export:backbone'}}"
    assert load_case("digits", [f"storage.path={tmp_path}", named, "arms=null"]).network.options == {"width": 4}
