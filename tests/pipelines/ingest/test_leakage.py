"""A test image that stands in another task's training data is found, counted and taken out of training."""

import io
import json

import pytest
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.batches.batch import class_priors, open_readers
from pipelines.evaluate.data_summary import summaries
from pipelines.ingest.ingest import ingest
from tests.pipelines.ingest_case import KINDS, case_of, picture, pixels, read, write

SETS = {
    "kinds": {"source": {"kind": "image_folder", "path": "kinds"}, "labels": {"kind": {"from": "folder"}}},
    "traits": {
        "source": {"kind": "csv", "path": "traits/traits.csv"},
        "labels": {"traits": {"from": "columns"}},
    },
    "validation": {
        "source": {"kind": "image_folder", "path": "validation"},
        "labels": {"kind": {"from": "folder"}},
        "split": "validation",
    },
    "test": {
        "source": {"kind": "image_folder", "path": "test"},
        "labels": {"kind": {"from": "folder"}, "traits": {"from": "folder", "through": "kind"}},
        "split": "test",
    },
}


def as_bmp(seed):
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "BMP")
    return buffer.getvalue()


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    for i in range(6):
        write(root / "kinds" / KINDS[i % 2] / f"{i}.png", picture(i))
        write(root / "traits" / f"{i}.png", picture(10 + i))
        write(root / "validation" / KINDS[i % 2] / f"{i}.png", picture(20 + i))
        write(root / "test" / KINDS[i % 2] / f"{i}.png", picture(30 + i))
    write(root / "traits" / "of-test.png", picture(31))  # byte-equal to a test image of the other task
    write(root / "traits" / "of-test.bmp", as_bmp(32))  # the same pixels in another format
    write(root / "traits" / "of-validation.png", picture(23))
    write(root / "kinds" / "cat" / "of-traits.png", picture(10))  # in two training sets: no leak
    write(root / "validation" / "dog" / "of-test.png", picture(33))
    names = sorted(file.name for file in (root / "traits").iterdir())
    write(root / "traits" / "traits.csv", "file,furry,flies\n" + "".join(f"{name},1,0\n" for name in names))
    return root


def test_leaked_rows_are_counted_by_where_they_stand_and_taken_out(root, tmp_path, ray_local):
    case = case_of(root, tmp_path, SETS, ingest={})
    data_sets = ingest(case)
    made = data_sets.manifests
    assert made["traits"].leakage == {"validation": 1, "test": 2}
    assert made["validation"].leakage == {"test": 1}
    assert made["kinds"].leakage == made["test"].leakage == {}
    assert (made["traits"].rows, made["traits"].rows_used, made["validation"].rows_used) == (9, 6, 6)
    assert made["traits"].labels["traits"].annotated == 6
    assert made["validation"].labels["kind"].histogram == {"cat": 3, "dog": 3}

    told = summaries(case, data_sets)  # as results.json and the report have it
    assert (told["traits"].rows, told["traits"].taken_out, told["traits"].leakage) == (6, 3, made["traits"].leakage)
    assert told["traits"].leaks == ["2 the same as in test", "1 the same as in validation"]
    assert (told["validation"].taken_out, told["kinds"].taken_out, told["kinds"].leaks) == (1, 0, [])

    reader, batch = read(case, "traits")
    assert reader.ids == [f"{i}.png" for i in range(6)]
    for i in range(6):
        assert (batch.inputs[i] == pixels(10 + i).transpose(2, 0, 1)).all()
    assert len(batch.labels["traits"]) == len(reader) == 6


def test_kept_or_forbidden_if_the_case_says_so(root, tmp_path, ray_local):
    kept = case_of(root, tmp_path, SETS, ingest={"leakage": "keep"})
    manifest = ingest(kept).manifests["traits"]
    assert (manifest.leakage, manifest.rows_used) == ({"validation": 1, "test": 2}, 9)
    assert len(read(kept, "traits")[0]) == 9
    words = r"datasets.traits: train inputs stand in later splits .*: 2 in test \(test\), 1 in validation"
    with pytest.raises(UserError, match=words):
        ingest(case_of(root, tmp_path, SETS, ingest={"leakage": "fail"}))


def test_cases_that_share_blocks_exclude_each_for_itself(root, tmp_path, ray_local):
    removing, keeping = (
        case_of(root, tmp_path, SETS, ingest=i, name=n) for i, n in (({}, "a"), ({"leakage": "keep"}, "b"))
    )
    folders = [ingest(case).folders["traits"] for case in (removing, keeping)]
    assert folders[0] == folders[1]
    assert [len(read(case, "traits")[0]) for case in (removing, keeping)] == [6, 9]
    assert ingest(removing).manifests["traits"].used_hash != ingest(keeping).manifests["traits"].used_hash


def test_where_every_picture_leaks_the_ingest_says_so(root, tmp_path, ray_local):
    write(root / "traits" / "traits.csv", "file,furry,flies\nof-test.png,1,0\n")
    with pytest.raises(UserError, match=r"datasets.traits: nothing is left for train: every input stands"):
        ingest(case_of(root, tmp_path, SETS, ingest={}))


def test_class_priors_are_counted_without_what_leaked(root, tmp_path, ray_local):
    for i in range(3):
        write(root / "kinds" / "dog" / f"leak{i}.png", picture(30 + i))
    case = case_of(root, tmp_path, SETS, ingest={})
    made = ingest(case)
    assert made.manifests["kinds"].leakage == {"test": 3}
    assert class_priors(case, open_readers(case, made, "train"))["kind"] == pytest.approx((5 / 9, 4 / 9))


def test_equal_vectors_are_counted_and_kept(tmp_path, ray_local):
    root = tmp_path / "data"
    for name in ("train", "test"):
        lines = [json.dumps({"x": [i % 2, 1], "kind": KINDS[i % 2], "held": ["furry"]}) for i in range(4)]
        write(root / f"{name}.jsonl", "\n".join(lines))
    sets = {
        name: {
            "source": {"kind": "json_lines", "path": f"{name}.jsonl", "vector_columns": "x"},
            "labels": {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "column", "column": "held"}},
            "split": name,
        }
        for name in ("train", "test")
    }
    case = case_of(root, tmp_path, sets, ingest={}, input={"kind": "vector", "size": 2})
    manifest = ingest(case).manifests["train"]
    assert (manifest.leakage, manifest.excluded) == ({"test": 4}, ())
