"""Not a row is lost: what cannot be used is set apart with its reason and its original row, and the sums hold."""

import io
import json
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from pipelines.base.errors import UserError
from pipelines.ingest.ingest import ingest
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import read_inputs
from tests.pipelines.ingest_case import (
    FOLDER,
    KINDS,
    REST,
    case_of,
    picture,
    quarantine,
    read,
    write,
    write_what_every_case_needs,
)

TABLE = {
    "source": {"kind": "csv", "path": "pets.csv"},
    "labels": {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}},
}
ANY = "ingest.most_quarantined=1"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    for i in range(4):
        write(root / "pets" / KINDS[i % 2] / f"good{i}.png", picture(i))
    return root


def bomb():
    """A PNG file of a few bytes that says it has 40,000 x 40,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def jpeg(seed):
    from PIL import Image

    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(seed, (64, 64)))).save(buffer, "JPEG")
    return buffer.getvalue()


def check_sums(case, made):
    for name, manifest in made.manifests.items():
        assert manifest.rows_in == manifest.rows + manifest.quarantined
        assert manifest.quarantined == sum(manifest.reasons.values())
        for part in ("rows_in", "rows", "quarantined"):
            assert sum(getattr(of, part) for of in manifest.sources.values()) == getattr(manifest, part)
        assert len(read(case, name)[0]) == manifest.rows
        if manifest.quarantined:
            assert len(quarantine(case, name)) == manifest.quarantined


def test_every_kind_of_broken_picture_goes_to_quarantine_by_its_reason(root, tmp_path, ray_local):
    broken = {
        "truncated.jpg": (jpeg(1)[:-200], "truncated image"),
        "truncated.png": (picture(1, (64, 64))[:-2000], "truncated image"),
        "text.png": (b"this is no picture", "no image"),
        "empty.jpg": (b"", "empty file"),
        "bomb.png": (bomb(), "decompression bomb"),
    }
    for name, (content, _) in broken.items():
        write(root / "pets" / "cat" / name, content)
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST, ANY)
    made = ingest(case)
    check_sums(case, made)
    found = {row["id"]: row for row in quarantine(case, "pets")}
    assert {i.removeprefix("cat/"): row["reason"].split(":")[0] for i, row in found.items()} == {
        name: reason for name, (_, reason) in broken.items()
    }
    assert all(json.loads(row["row"]) == {"folder": "cat"} and row["source"] == "pets" for row in found.values())
    assert made.manifests["pets"].reasons["truncated image"] == 2
    assert read(case, "pets")[0].ids == [
        f"{kind}/good{i}.png" for kind, i in zip(["cat", "cat", "dog", "dog"], (0, 2, 1, 3), strict=True)
    ]


def test_rows_of_a_table_are_refused_by_their_reason_and_keep_their_original_row(root, tmp_path, ray_local):
    rows = [
        "pets/cat/good0.png,cat,1,0",
        "pets/cat/nowhere.png,cat,1,0",
        "pets/dog/good1.png,wolf,1,0",
        "pets/dog/good3.png,dog,maybe,0",
        "pets/dog/good3.png,dog,1",
        ",dog,1,0",
    ]
    write(root / "pets.csv", "\n".join(["file,kind,furry,flies", *rows]))
    case = case_of(root, tmp_path, {"pets": TABLE} | REST, ANY, "ingest.unknown_labels=quarantine")
    made = ingest(case)
    check_sums(case, made)
    assert made.manifests["pets"].reasons == {
        "3 columns where the table has 4": 1, "missing file": 2, "wrong label": 2,
    }  # fmt: skip
    found = {row["reason"]: json.loads(row["row"]) for row in quarantine(case, "pets")}
    assert found["wrong label: found the label 'wolf', which the task does not have; valid: cat, dog"] == {
        "file": "pets/dog/good1.png", "kind": "wolf", "furry": "1", "flies": "0",
    }  # fmt: skip
    assert "wrong label: column 'furry': found 'maybe'; expected 1, 0, true, false or empty" in found
    assert found["3 columns where the table has 4"] == {"line": "pets/dog/good3.png,dog,1"}


def test_an_id_that_stands_twice_is_kept_once_where_the_rows_agree_and_not_at_all_where_they_differ(
    root, tmp_path, ray_local
):
    lines = [
        "pets/cat/good0.png,cat,1,0",
        "pets/cat/good0.png,cat,1,0",
        "pets/cat/good0.png,cat,1,0",
        "pets/dog/good1.png,dog,1,0",
        "pets/dog/good1.png,dog,0,0",
        "pets/cat/good2.png,cat,1,0",
    ]
    for order in (1, -1):  # neither depends on the order of the rows
        write(root / "pets.csv", "\n".join(["file,kind,furry,flies", *lines[::order]]))
        case = case_of(root, tmp_path, {"pets": TABLE} | REST, ANY)
        made = ingest(case)
        check_sums(case, made)
        assert read(case, "pets")[0].ids == ["pets/cat/good0.png", "pets/cat/good2.png"]
        assert sorted((row["id"], row["reason"]) for row in quarantine(case, "pets")) == [
            ("pets/cat/good0.png", "duplicate id: the same row again"),
            ("pets/cat/good0.png", "duplicate id: the same row again"),
            ("pets/dog/good1.png", "duplicate id: 2 rows that differ"),
            ("pets/dog/good1.png", "duplicate id: 2 rows that differ"),
        ]


def test_vectors_with_nan_or_of_another_width_go_to_quarantine(root, tmp_path, ray_local):
    rows = [
        {"x": [1, 2, 3], "kind": "cat"},
        {"x": [1, None, 3], "kind": "cat"},
        {"x": [1, 2], "kind": "dog"},
        {"x": [0, 0, 0, 0], "kind": "dog"},
        {"x": "text", "kind": "dog"},
        {"x": [1e39, 0, 0], "kind": "dog"},
    ]
    lines = [json.dumps(row) for row in rows] + ["{broken", '["a list"]']
    write(root / "pets.jsonl", "\n".join(lines))
    write(root / "test.csv", "f1,f2,f3,kind,furry,flies\n1,2,3,cat,1,0\n3,2,1,dog,0,1\n")
    test = {
        "source": {"kind": "csv", "path": "test.csv", "vector_columns": ["f1", "f2", "f3"]},
        "labels": TABLE["labels"],
    }
    pets = {
        "source": {"kind": "json_lines", "path": "pets.jsonl", "vector_columns": "x"},
        "labels": {"kind": TABLE["labels"]["kind"]},
    }
    sets = {"pets": pets, "more": test, "test": test | {"split": "test"}}
    case = case_of(root, tmp_path, sets, ANY, input={"kind": "vector", "size": 3})
    made = ingest(case)
    check_sums(case, made)
    told = {"NaN or infinite features": 2, "no number": 1, "not a JSON object": 2, "wrong width": 2}
    assert made.manifests["pets"].reasons == told
    assert {json.loads(row["row"]).get("line") for row in quarantine(case, "pets")} == {None, "{broken", '["a list"]'}


def broken_zip(file):
    with zipfile.ZipFile(file, "w") as archive:
        for i in range(3):
            archive.writestr(f"cat/{i}.png", picture(i))


def test_a_damaged_member_is_one_row_and_the_others_are_read(root, tmp_path, ray_local):
    broken_zip(root / "pets.zip")
    content = bytearray((root / "pets.zip").read_bytes())
    at = content.index(picture(1)) + 40
    content[at] ^= 0xFF
    (root / "pets.zip").write_bytes(content)
    pets = FOLDER | {"source": {"kind": "image_folder", "path": "pets.zip"}}
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY)
    check_sums(case, ingest(case))
    (row,) = quarantine(case, "pets")
    assert (row["id"], row["reason"]) == ("cat/1.png", "broken archive: the checksum does not fit")


def cut_zip(file):
    broken_zip(file)
    file.write_bytes(file.read_bytes()[:-30])


def cut_tar(file):
    with tarfile.open(file, "w") as archive:
        for i in range(3):
            info = tarfile.TarInfo(f"cat/{i}.png")
            info.size = len(picture(i))
            archive.addfile(info, io.BytesIO(picture(i)))
    file.write_bytes(file.read_bytes()[: 512 + 1024 + 512 + 100])


def cut_tar_gz(file):
    with tarfile.open(file, "w:gz") as archive:
        info = tarfile.TarInfo("cat/0.png")
        info.size = len(picture(0, (64, 64)))
        archive.addfile(info, io.BytesIO(picture(0, (64, 64))))
    file.write_bytes(file.read_bytes()[:-4000])


@pytest.mark.parametrize(("make", "ending"), [(cut_zip, "zip"), (cut_tar, "tar"), (cut_tar_gz, "tar.gz")])
def test_an_archive_that_cannot_be_listed_fails_by_name_or_is_set_aside(root, tmp_path, ray_local, make, ending):
    (root / "packs").mkdir()
    make(root / "packs" / f"a.{ending}")
    with zipfile.ZipFile(root / "packs" / "b.zip", "w") as archive:
        archive.writestr("cat/5.png", picture(5))
    pets = FOLDER | {"source": {"kind": "image_folder", "path": "packs/*"}}
    with pytest.raises(
        UserError, match=rf"datasets.pets: .*packs/a.{ending}: broken archive: .*; expected a whole archive"
    ):
        ingest(case_of(root, tmp_path, {"pets": pets} | REST))
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY, "ingest.broken_archives=quarantine")
    check_sums(case, ingest(case))
    (row,) = quarantine(case, "pets")
    assert row["id"] == f"packs/a.{ending}"
    assert row["reason"].startswith("broken archive: ")


def test_a_single_archive_that_cannot_be_listed_counts_as_a_row(root, tmp_path, ray_local):
    cut_zip(root / "pets.zip")
    pets = FOLDER | {"source": {"kind": "image_folder", "path": "pets.zip"}}
    with pytest.raises(UserError, match=r"datasets.pets.source.path: .*pets.zip: broken archive: .*expected a whole"):
        case_of(root, tmp_path, {"pets": pets} | REST)
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY, "ingest.broken_archives=quarantine")
    with pytest.raises(UserError, match=r"datasets.pets: 1 of 1 rows could not be used \(1 broken archive\)"):
        ingest(case)


def test_a_table_that_breaks_after_it_was_listed_fails_its_own_rows_alone(root, tmp_path, ray_local):
    np.save(root / "x.npy", np.zeros((3, 12, 10, 3), dtype=np.uint8))
    np.save(root / "kind.npy", np.array(["cat", "dog", "cat"]))
    columns = {"kind": "kind.npy"}
    pets = {
        "source": {"kind": "numpy", "path": "x.npy", "columns": columns},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY)
    listed = list_data_set(case, "pets")
    (root / "x.npy").write_bytes(b"garbage")
    found = list(read_inputs(listed.rows, case.datasets["pets"]))
    assert len(found) == 3
    assert all("cannot be read as a .npy array" in str(one) for one in found)


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../outside.png", "cat/../../outside.png", "/etc/outside.png"])
def test_an_archive_member_that_leaves_the_archive_is_refused(root, tmp_path, ray_local, ending, name):
    members = {name: picture(1), "cat/inside.png": picture(2)}
    if ending == "zip":
        with zipfile.ZipFile(root / "pets.zip", "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    else:
        with tarfile.open(root / "pets.tar", "w") as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    write(tmp_path / "outside.png", picture(3))
    pets = {
        "source": {"kind": "image_folder", "path": f"pets.{ending}"},
        "labels": {"kind": {"from": "folder", "not_annotated": ["", "..", "etc", "."]}},
    }
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY)
    check_sums(case, ingest(case))
    assert read(case, "pets")[0].ids == ["cat/inside.png"]
    (row,) = quarantine(case, "pets")
    assert row["reason"] == "refused: an absolute path or '..' in an archive"


def test_a_table_in_an_archive_cannot_name_a_file_outside_of_it(root, tmp_path, ray_local):
    write(tmp_path / "outside.png", picture(3))
    with zipfile.ZipFile(root / "pets.zip", "w") as archive:
        archive.writestr("pets.csv", f"file,kind\n../../outside.png,cat\n{tmp_path}/outside.png,cat\nx.png,cat\n")
        archive.writestr("x.png", picture(2))
    pets = {
        "source": {"kind": "csv", "path": "pets.zip/pets.csv"},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    case = case_of(root, tmp_path, {"pets": pets} | REST, ANY)
    check_sums(case, ingest(case))
    assert read(case, "pets")[0].ids == ["x.png"]
    assert {row["reason"] for row in quarantine(case, "pets")} == {"refused: an absolute path or '..' in an archive"}


def test_more_quarantined_rows_than_the_setting_allows_fail_the_ingest_at_its_end(root, tmp_path, ray_local):
    write(root / "pets" / "cat" / "text.png", b"this is no picture")
    write(root / "pets" / "cat" / "empty.png", b"")
    sets = {"pets": FOLDER} | REST
    assert ingest(case_of(root, tmp_path, sets, "ingest.most_quarantined=0.34")).manifests["pets"].quarantined == 2
    with pytest.raises(UserError) as caught:
        ingest(case_of(root, tmp_path, sets, "ingest.most_quarantined=0.33"))
    words = str(caught.value)
    assert "datasets.pets: 2 of 6 rows could not be used (1 empty file, 1 no image); at most 0.33 of them may" in words
    assert "cat/empty.png, cat/text.png" in words


def test_without_a_row_left_the_ingest_fails_whatever_the_setting(root, tmp_path, ray_local):
    write(root / "pets.csv", "file,kind,furry,flies\nnowhere.png,cat,1,0\n")
    with pytest.raises(UserError, match=r"datasets.pets: 1 of 1 rows could not be used \(1 missing file\)"):
        ingest(case_of(root, tmp_path, {"pets": TABLE} | REST, ANY))


def test_pickled_arrays_are_not_opened(root, tmp_path, ray_local):
    np.save(root / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    pets = {"source": {"kind": "numpy", "path": "x.npy"}, "labels": {"kind": {"from": "column", "column": "kind"}}}
    with pytest.raises(UserError, match="Python objects, which are not unpickled"):
        ingest(case_of(root, tmp_path, {"pets": pets} | REST))
