"""From sources of every kind to the same blocks; what cannot be read is counted, and a stopped ingest goes on."""

import csv
import io
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.blocks.cache import local_blocks
from pipelines.ingest.ingest import ingest, ingested
from tests.pipelines.ingest_case import KINDS, TRAITS, case_of, picture, quarantine, read


@pytest.fixture
def sources(tmp_path):
    """A folder, a CSV and a Parquet source of the same four images' kind."""
    root = tmp_path / "data"
    for i in range(4):
        file = root / "pets" / KINDS[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture(i))
    with (root / "traits.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", *TRAITS, "kind"])
        table.writerows(
            [
                ["pets/cat/0.png", 1, 0, "cat"],
                ["pets/dog/1.png", "true", "", ""],
                ["pets/cat/2.png", "", "", "cat"],
            ]
        )
    columns = {"image": [picture(i) for i in range(3)], "held": [["furry"], [], None], "kind": ["cat", None, "dog"]}
    pq.write_table(pa.table(columns), root / "held.parquet")
    return root


FOLDER = {
    "source": {"kind": "image_folder", "path": "pets"},
    "labels": {"kind": {"from": "folder"}, "traits": {"from": "folder", "through": "kind"}},
}
TABLE = {
    "source": {"kind": "csv", "path": "traits.csv"},
    "labels": {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}},
    "split": "test",
}
PARQUET = {
    "source": {"kind": "parquet", "path": "held.parquet"},
    "labels": {"traits": {"from": "column", "column": "held"}},
}


def test_every_kind_of_source_becomes_the_pictures_and_labels_that_it_holds(sources, tmp_path, ray_local):
    case = case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE, "parquet": PARQUET})
    manifests = ingest(case).manifests

    reader, batch = read(case, "folder")
    assert reader.ids == ["cat/0.png", "cat/2.png", "dog/1.png", "dog/3.png"]
    assert batch.labels["kind"].tolist() == [0, 0, 1, 1]
    assert batch.labels["traits"].tolist() == [[1, 0]] * 4
    for row, seed in zip(batch.inputs, (0, 2, 1, 3), strict=True):
        expected = np.asarray(Image.open(io.BytesIO(picture(seed)))).transpose(2, 0, 1)
        assert (row == expected).all()

    _, batch = read(case, "table")
    assert batch.labels["kind"].tolist() == [0, 0, -1]
    assert batch.labels["traits"].tolist() == [[1, 0], [-1, -1], [1, -1]]
    assert manifests["table"].labels["traits"].annotated == 2
    assert manifests["table"].labels["traits"].histogram == {"furry": 2, "flies": 0}

    _, batch = read(case, "parquet")
    assert batch.labels["traits"].tolist() == [[1, 0], [0, 0], [-1, -1]]
    assert batch.labels["kind"].tolist() == [-1, -1, -1]


def test_a_missing_annotation_is_an_arrow_null(sources, tmp_path, ray_local):
    case = case_of(sources, tmp_path, {"table": TABLE, "train": FOLDER})
    ingest(case)
    made = ingested(case)
    block = pa.ipc.open_file(local_blocks(made.folders["table"], made.manifests["table"]).files[0]).read_all()
    assert block["kind"].to_pylist() == [0, 0, None]
    assert block["traits"].to_pylist() == [[True, False], [None, None], [True, None]]
    assert block.schema.field("input").type.shape == [3, 12, 10]


def test_an_archive_gives_the_same_blocks_as_the_folder_it_was_packed_from(sources, tmp_path, ray_local):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for file in sorted((sources / "pets").rglob("*.png")):
            archive.write(file, f"top/{file.relative_to(sources)}")
    data = {"folder": FOLDER | {"split": "train"}, "again": FOLDER | {"split": "test"}}
    on_disk = case_of(sources, tmp_path, data)
    ingest(on_disk)
    packed = case_of(tmp_path / "data.zip", tmp_path, data)
    ingest(packed)
    (a, x), (b, y) = read(on_disk, "folder"), read(packed, "folder")
    assert a.ids == b.ids
    assert (x.inputs == y.inputs).all()
    assert x.labels["kind"].tolist() == y.labels["kind"].tolist()


def test_a_broken_picture_is_quarantined_and_the_rows_add_up(sources, tmp_path, ray_local):
    (sources / "pets" / "cat" / "0.png").write_bytes(picture(0)[:60])
    case = case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE}, "ingest.most_quarantined=0.5")
    manifest = ingest(case).manifests["folder"]
    assert (manifest.rows_in, manifest.rows, manifest.quarantined) == (4, 3, 1)
    assert manifest.labels["kind"].histogram == {"cat": 1, "dog": 2}
    (row,) = quarantine(case, "folder")
    assert row["id"] == "cat/0.png"
    assert row["source"] == "pets"
    assert row["reason"].startswith("truncated image")
    assert row["row"] == '{"folder": "cat"}'


def test_too_many_broken_pictures_fail_with_their_reasons_and_are_tried_again(sources, tmp_path, ray_local):
    kept = os.stat(sources / "pets" / "cat" / "0.png")
    for i in (0, 2):
        (sources / "pets" / "cat" / f"{i}.png").write_bytes(b"\0" * kept.st_size)
    whole = [(sources / "pets" / "cat" / f"{i}.png") for i in (0, 2)]
    times = [(os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns) for file in whole]
    (sources / "traits.csv").write_text("file,furry,flies,kind\npets/dog/1.png,1,0,dog\n")
    case = case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE})
    with pytest.raises(UserError, match=r"datasets.folder: 2 of 4 rows could not be used \(2 no image\)"):
        ingest(case)
    # mended without a trace: nothing but another try can tell
    for file, i, stamp in zip(whole, (0, 2), times, strict=True):
        good = picture(i)
        file.write_bytes(good + b"\0" * (kept.st_size - len(good)))
        os.utime(file, ns=stamp)
    assert ingest(case).manifests["folder"].rows == 4


def test_other_pictures_under_the_same_names_in_an_archive_are_other_blocks(sources, tmp_path, ray_local):
    for name, seeds in (("one.zip", (0, 1, 2)), ("two.zip", (5, 6, 7))):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.write(sources / "traits.csv", "traits.csv")
            for file, seed in zip(("cat/0", "dog/1", "cat/2"), seeds, strict=True):
                archive.writestr(f"pets/{file}.png", picture(seed))
    found = []
    for name in ("one.zip", "two.zip"):
        case = case_of(tmp_path / name, tmp_path, {"table": TABLE, "train": TABLE | {"split": "train"}})
        ingest(case)
        found.append(read(case, "table")[1].inputs)
    assert (found[0] != found[1]).any()


def test_only_an_empty_cell_is_not_annotated(sources, tmp_path, ray_local):
    (sources / "traits.csv").write_text("file,furry,flies,kind\npets/cat/0.png,1,,none\npets/dog/1.png,0,1,-1\n")
    words = "tasks.kind.classes=[none, '-1', cat, dog]"
    edge = "relatedness.0.table={none: [], '-1': [], cat: [furry], dog: [furry]}"
    case = case_of(sources, tmp_path, {"train": FOLDER, "table": TABLE}, words, edge)
    ingest(case)
    assert read(case, "table")[1].labels["kind"].tolist() == [0, 1]
    assert read(case, "table")[1].labels["traits"].tolist() == [[1, -1], [0, 1]]

    (sources / "traits.csv").write_text("file,furry,flies,kind\npets/cat/0.png,1,-1,cat\n")
    with pytest.raises(
        UserError, match=r"row pets/cat/0.png, column 'flies': found '-1'; expected 1, 0, true, false or empty"
    ):
        ingest(case)


def test_a_task_that_no_row_is_annotated_for_is_told(sources, tmp_path, ray_local):
    (sources / "traits.csv").write_text("file,furry,flies,kind\npets/cat/0.png,,,cat\n")
    with pytest.raises(UserError, match="no row of split 'test' is annotated for task 'traits'"):
        ingest(case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE}))


def test_a_table_that_is_not_utf8_is_told_by_name(sources, tmp_path, ray_local):
    (sources / "traits.csv").write_bytes("file,furry,flies,kind\npets/cat/0.png,1,0,größe\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"traits.csv: byte \d+ is not UTF-8"):
        ingest(case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE}))


def test_a_label_outside_the_vocabulary_names_file_row_and_the_nearest(sources, tmp_path, ray_local):
    (sources / "traits.csv").write_text("file,furry,flies,kind\npets/cat/0.png,1,0,catt\n")
    case = case_of(sources, tmp_path, {"folder": FOLDER, "table": TABLE})
    with pytest.raises(UserError) as caught:
        ingest(case)
    assert "traits.csv, row pets/cat/0.png: found the label 'catt'" in str(caught.value)
    assert "did you mean 'cat'" in str(caught.value)


def test_a_column_that_is_not_there_names_the_nearest(sources, tmp_path, ray_local):
    table = TABLE | {"labels": {"kind": {"from": "column", "column": "kinds"}, "traits": {"from": "columns"}}}
    with pytest.raises(UserError, match="there is no column 'kinds'; did you mean 'kind'"):
        ingest(case_of(sources, tmp_path, {"folder": FOLDER, "table": table}))


def test_selected_parts_of_one_source_are_disjoint_and_fixed(sources, tmp_path, ray_local):
    parts = {
        "first": FOLDER | {"select": {"rows": 3, "start": 0}},
        "second": FOLDER | {"select": {"rows": 1, "start": 3}, "split": "test"},
    }
    case = case_of(sources, tmp_path, parts)
    ingest(case)
    first, second = read(case, "first")[0].ids, read(case, "second")[0].ids
    assert sorted(first + second) == ["cat/0.png", "cat/2.png", "dog/1.png", "dog/3.png"]
    too_many = case_of(sources, tmp_path, parts, "datasets.first.select.rows=9")
    with pytest.raises(UserError, match=r"datasets.first.select: found rows 0 to 9; the source has 4"):
        ingest(too_many)
