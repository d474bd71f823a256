"""`kindred list`, `compare` and `clean` look at what lies in a storage, and delete nothing that is needed."""

import os
import time
from pathlib import Path

import pytest

from pipelines.base.errors import UserError
from pipelines.base.storage import write_whole
from pipelines.blocks.datasets import DataSets, write_data_sets
from pipelines.blocks.manifest import Manifest
from pipelines.experiment.layout import EXPERIMENT, experiment_folder
from pipelines.housekeeping.clean import delete_unneeded, find_unneeded
from pipelines.housekeeping.compare import compare, comparison_page, comparison_text
from pipelines.housekeeping.listing import experiments_text, list_experiments
from tests.pipelines.report.made_experiment import made_experiment

MANIFEST = Manifest(
    data_set="birds", split="train", fingerprint="0", settings={}, content_hash="h", rows_in=0, rows=0, quarantined=0,
    shape=(3, 8, 8), blocks=(), labels={}, sources={}, reasons={},
)  # fmt: skip


@pytest.fixture
def two(tmp_path):
    """A storage of two experiments: its folder, and theirs."""
    made = [made_experiment(tmp_path)[0], made_experiment(tmp_path, gain=0.15, batch_size=32)[0]]
    return (tmp_path / "store", *(Path(experiment_folder(case)) for case in made))


def age(folder):
    """Make all below a folder three days old."""
    before = time.time() - 3 * 86400
    for file in [folder, *folder.rglob("*")]:
        os.utime(file, (before, before), follow_symlinks=False)


def refer(file, folder):
    write_data_sets(str(file), DataSets({"birds": str(folder)}, {"birds": MANIFEST}))


def test_the_list_says_how_far_each_is_how_large_and_what_it_came_to(two):
    storage, a, b = two
    write_whole(str(a / EXPERIMENT), '{"runs": ["x", "y"]}')
    (b / "results.json").unlink()
    for record in list(b.rglob("run.json"))[1:]:
        record.unlink()
    write_whole(str(b / EXPERIMENT), '{"runs": ["x", "y", "z"]}')
    write_whole(str(storage / "no-experiment" / "file"), "")
    by_name = {one.name: one for one in list_experiments(str(storage))}
    assert set(by_name) == {a.name, b.name}
    assert by_name[a.name].state == "evaluated"
    assert "species +10.0 points" in by_name[a.name].came_to[0]
    assert (by_name[b.name].state, by_name[b.name].ended, by_name[b.name].runs) == ("begun", 1, 3)
    assert by_name[a.name].size == sum(file.stat().st_size for file in a.rglob("*") if file.is_file())
    text = experiments_text(list(by_name.values()))
    assert "begun (1 of 3 runs)" in text
    with pytest.raises(UserError, match="STORAGE"):
        list_experiments(str(storage / "none"))


def test_two_are_compared_with_intervals_and_what_differs_between_them(two):
    _, a, b = two
    compared = compare([str(a), str(b / "results.json")])
    assert compared.settings == {"training.batch_size": (16, 32)}
    assert compared.data == {}
    row = next(row for row in compared.rows if (row.task, row.arm) == ("species", "co-trained"))
    assert row.changes[0] is None
    change = row.changes[1]
    assert change.value == pytest.approx(row.scores[1].mean - row.scores[0].mean)
    assert change.low < change.value < change.high
    assert row.scores[1].difference.value == pytest.approx(0.15)
    page = comparison_page(compared)
    assert page.count("<tr>") == 1 + len(compared.rows) + 1 + len(compared.settings)
    assert "▲" in page
    text = comparison_text(compared)
    assert a.name in text
    assert "training.batch_size" in text


def test_no_change_is_told_where_the_test_data_are_others(tmp_path):
    a = made_experiment(tmp_path)[0]
    b = made_experiment(tmp_path, batch_size=32, test_hash="other")[0]
    compared = compare([experiment_folder(a), experiment_folder(b)])
    assert compared.data == {"test": ("t", "other")}
    assert all(change is None for row in compared.rows for change in row.changes)
    with pytest.raises(UserError, match="two or more"):
        compare([experiment_folder(a)])


def test_only_what_nothing_needs_goes_and_only_when_it_is_said(two):
    storage, a, b = two
    blocks = storage / "blocks"
    for name in ("birds-aaaaaaaaaaaa", "birds-bbbbbbbbbbbb", "birds-cccccccccccc", "birds-dddddddddddd"):
        write_whole(str(blocks / name / "0.arrow"), "x" * 100)
    refer(a / "data_sets.json", "/moved/from/blocks/birds-aaaaaaaaaaaa")
    refer(blocks / "birds-000000000000.json", blocks / "birds-bbbbbbbbbbbb")  # an older ingest
    refer(blocks / "birds-111111111111.json", blocks / "birds-cccccccccccc")  # the newest: nothing was trained yet
    run = next(a.rglob("run.json")).parent
    write_whole(str(run / "checkpoints" / "step-000000001-x.safetensors"), "x")
    write_whole(str(run / "final" / "step-000000001-x.safetensors"), "x")
    write_whole(str(a / ".results.json.scratch"), "x")
    unfinished = next(b.rglob("run.json"))
    unfinished.unlink()
    write_whole(str(unfinished.parent / "checkpoints" / "step-000000001-x.safetensors"), "x")
    write_whole(str(storage / "birds-empty" / "case.yaml"), "name: birds")
    outside = storage.parent / "outside"
    write_whole(str(outside / "mine.txt"), "mine")
    (blocks / "birds-eeeeeeeeeeee").symlink_to(outside)
    age(storage)
    os.utime(blocks / "birds-111111111111.json", None)
    write_whole(str(blocks / "birds-ffffffffffff" / "0.arrow"), "just now")

    unneeded = find_unneeded(str(storage))
    assert {one.path for one in unneeded} == {
        "blocks/birds-bbbbbbbbbbbb",
        "blocks/birds-dddddddddddd",
        "blocks/birds-000000000000.json",
        f"{run.relative_to(storage)}/checkpoints",
        f"{a.name}/.results.json.scratch",
        "birds-empty",
    }
    before = {file for file in storage.rglob("*") if file.is_file()}
    states = find_unneeded(str(storage), states=True)
    assert {one.path for one in states} - {one.path for one in unneeded} == {f"{run.relative_to(storage)}/final"}
    assert {file for file in storage.rglob("*") if file.is_file()} == before, "looking deletes nothing"

    delete_unneeded(str(storage), unneeded)
    assert not (blocks / "birds-bbbbbbbbbbbb").exists()
    assert not (storage / "birds-empty").exists()
    assert (blocks / "birds-aaaaaaaaaaaa" / "0.arrow").exists()
    assert (blocks / "birds-cccccccccccc" / "0.arrow").exists()
    assert (blocks / "birds-ffffffffffff" / "0.arrow").exists()
    assert (unfinished.parent / "checkpoints" / "step-000000001-x.safetensors").exists()
    assert (outside / "mine.txt").read_text() == "mine"
    assert find_unneeded(str(storage)) == []


def test_an_experiment_goes_whole_where_it_is_named_and_nothing_outside_does(two):
    storage, a, b = two
    (a / "linked").symlink_to(b)
    unneeded = find_unneeded(str(storage), [a.name])
    assert [one.path for one in unneeded] == [a.name]
    with pytest.raises(UserError, match="--experiment: found"):
        find_unneeded(str(storage), ["../x"])
    delete_unneeded(str(storage), [unneeded[0], unneeded[0].model_copy(update={"path": "../my.txt"})])
    assert not a.exists()
    assert (b / "results.json").exists()
