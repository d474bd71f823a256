"""The records of a search survive JSON, and what a newer version has written."""

import json

from pipelines.search.hparams import write_hparams
from pipelines.search.records import Baseline, CurvePoint, SearchRecord, TrialRecord


def test_a_search_survives_json():
    trial = TrialRecord(
        3, {"training.optimizer.lr": 0.01, "training.matching.dm.form": "full"}, "stopped", 0.5, {"a": 0.5}, {}, 2,
        {0: {"a": 0.4}, 7: {"a": 0.6}}, (CurvePoint(10, 0.3, {"a": 0.3}),), "below others", 12.5, "suggested", "", 9.0,
    )  # fmt: skip
    record = SearchRecord(
        "digits", {"training.optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2}}, "safe", ("a",),
        (TrialRecord(0, state="failed", reason="NaN", origin="baseline", name="naive"), trial),
        (Baseline("naive", 0, None, {}, {"a": (0.1, 0.2)}),), 3, "better", 1.0, 2.0, {4: 0.5}, (3,), {1: "a: worse"},
    )  # fmt: skip
    assert SearchRecord.from_json(record.json()) == record


def test_what_a_newer_version_adds_is_left_out_and_nan_is_null():
    newer = TrialRecord(1).as_dict() | {"colour": "red"}
    assert TrialRecord.from_dict(newer) == TrialRecord(1)
    record = SearchRecord("c", {}, "mean", trials=(TrialRecord(0, score=float("nan")),))
    assert json.loads(record.json())["trials"][0]["score"] is None


def test_tensorboard_gets_a_run_a_trial_that_has_ended_and_gets_it_once(tmp_path):
    trials = [TrialRecord(1, {"a": 1, "b": [2]}, "finished", 0.5, {"t": 0.5}), TrialRecord(2)]
    for _ in range(2):
        write_hparams(str(tmp_path), trials)
    assert [file.parent.name for file in (tmp_path / "tensorboard").rglob("*/events*")].count("00001") == 1
    assert not (tmp_path / "tensorboard" / "00002").exists()
