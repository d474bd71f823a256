"""Every kind of source gives the same inputs and labels, wherever it lies."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipelines.base.errors import UserError
from pipelines.case.data import DataSet, VectorInput
from pipelines.ingest.ingest import ingest
from pipelines.ingest.make_block import read_inputs
from pipelines.sources.list_source import list_source
from pipelines.sources.places import NothingThereError, find_places
from pipelines.sources.registry import Source
from tests.pipelines.ingest_case import (
    TEST,
    TRAITS_TO_LEARN,
    case_of,
    picture,
    pixels,
    read,
    write,
    write_what_every_case_needs,
)
from tests.pipelines.one_worker import run_here

SOURCE = TypeAdapter(Source)

# Five images; what is known of each: the kind, and whether it is furry and flies.
WORDS = ["cat", "dog", None, "dog", "cat"]
HELD = [["furry"], [], None, ["furry", "flies"], ["flies"]]
KIND = [0, 1, -1, 1, 0]
TRAITS = [[1, 0], [0, 0], [-1, -1], [1, 1], [0, 1]]
PICTURES = [picture(seed) for seed in range(5)]
BY_COLUMN = {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "column", "column": "held"}}


def _files(root):
    for i, content in enumerate(PICTURES):
        write(root / "pictures" / f"{i}.png", content)


def _none_or(value, words):
    return words if value is None else value


def csv_table(root):
    _files(root)
    rows = [f"pictures/{i}.png,{_none_or(WORDS[i], '')},{_held_as_text(HELD[i])}" for i in range(5)]
    write(root / "pets.csv", "\n".join(["file,kind,held", *rows]) + "\n")
    return {"kind": "csv", "path": "pets.csv"}


def _held_as_text(held):
    # nothing held is written as a separator alone: an empty cell means "not annotated"
    return "" if held is None else "|".join(held) or "|"


def tsv_of_another_folder(root):
    _files(root)
    rows = [f"../pictures/{i}.png\t{_none_or(WORDS[i], '')}\t{_held_as_text(HELD[i])}" for i in range(5)]
    write(root / "tables" / "pets.tsv", "\n".join(["picture\tkind\theld", *rows]))
    return {"kind": "csv", "path": "tables/pets.tsv", "file_column": "picture", "delimiter": "\t"}


def json_lines(root):
    _files(root)
    rows = [{"file": f"pictures/{i}.png", "kind": WORDS[i], "held": HELD[i]} for i in range(5)]
    write(root / "pets.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return {"kind": "json_lines", "path": "pets.jsonl"}


def parquet_with_bytes(root):
    pq.write_table(pa.table({"image": PICTURES, "kind": WORDS, "held": HELD}), root / "pets.parquet", row_group_size=2)
    return {"kind": "parquet", "path": "pets.parquet"}


def parquet_with_pixels(root):
    arrays = [pixels(i).tolist() for i in range(5)]
    pq.write_table(pa.table({"image": arrays, "kind": WORDS, "held": HELD}), root / "pets.parquet", row_group_size=2)
    return {"kind": "parquet", "path": "pets.parquet"}


def parquet_with_paths(root):
    _files(root)
    paths = [f"pictures/{i}.png" for i in range(5)]
    pq.write_table(pa.table({"image": paths, "kind": WORDS, "held": HELD}), root / "pets.parquet")
    return {"kind": "parquet", "path": "pets.parquet"}


def parquet_files_by_pattern(root):
    for name, rows in (("a", [0, 1, 2]), ("b", [3, 4])):
        columns = {"image": PICTURES, "kind": WORDS, "held": HELD}
        part = pa.table({column: [values[i] for i in rows] for column, values in columns.items()})
        write(root / "parts" / name / "pets.parquet", b"")
        pq.write_table(part, root / "parts" / name / "pets.parquet")
    return {"kind": "parquet", "path": "parts/*/pets.parquet"}


def list_of_csv_tables(root):
    _files(root)
    for name, rows in (("one", [0, 1]), ("two", [2, 3, 4])):
        lines = [f"pictures/{i}.png,{_none_or(WORDS[i], '')},{_held_as_text(HELD[i])}" for i in rows]
        write(root / f"{name}.csv", "\n".join(["file,kind,held", *lines]) + "\n")
    return {"kind": "csv", "path": ["one.csv", "two.csv"]}


def hugging_face(root):
    features = {
        "image": {"_type": "Image"},
        "kind": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "held": {"feature": {"names": ["furry", "flies"], "_type": "ClassLabel"}, "_type": "List"},
    }
    number = {"cat": 0, "dog": 1, None: -1}
    trait = {"furry": 0, "flies": 1}
    for part, rows in enumerate(([0, 1, 2], [3, 4])):
        table = pa.table(
            {
                "image": [{"bytes": PICTURES[i], "path": f"{i}.png"} for i in rows],
                "kind": [number[WORDS[i]] for i in rows],
                "held": pa.array(
                    [None if HELD[i] is None else [trait[t] for t in HELD[i]] for i in rows], pa.list_(pa.int64())
                ),
            }
        ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        file = write(root / "pets" / "data" / f"train-0000{part}-of-00002.parquet", b"")
        pq.write_table(table, file)
    return {"kind": "hugging_face", "path": "pets"}


def _samples():
    for i in range(5):
        yield f"sample{i}.png", PICTURES[i]
        yield f"sample{i}.json", json.dumps({"kind": WORDS[i], "held": HELD[i]}).encode()


def _tar(file, members, mode="w"):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def webdataset(root):
    samples = list(_samples())
    _tar(root / "shards" / "pets-0.tar", samples[:4])
    _tar(root / "shards" / "pets-1.tar", samples[4:])
    return {"kind": "webdataset", "path": "shards/pets-*.tar"}


def webdataset_in_a_folder_with_classes_in_members(root):
    samples = [(f"sample{i}.png", PICTURES[i]) for i in range(5)]
    samples += [(f"sample{i}.cls", (WORDS[i] or "").encode()) for i in range(5)]
    samples += [(f"sample{i}.held.txt", _held_as_text(HELD[i]).encode()) for i in range(5)]
    _tar(root / "shards" / "pets.tar.gz", samples, "w:gz")
    return {"kind": "webdataset", "path": "shards"}


def numpy_file(root):
    np.save(root / "x.npy", np.stack([pixels(i) for i in range(5)]))
    np.save(root / "kind.npy", np.array([word or "" for word in WORDS]))
    np.save(root / "held.npy", np.array([[np.nan if t == -1 else t for t in row] for row in TRAITS]))
    return {"kind": "numpy", "path": "x.npy", "columns": {"kind": "kind.npy", "held": "held.npy"}}


def numpy_archive(root):
    held = np.array([[np.nan if t == -1 else t for t in row] for row in TRAITS])
    kind = np.array([word or "" for word in WORDS])
    np.savez_compressed(root / "pets.npz", pixels=np.stack([pixels(i) for i in range(5)]), kind=kind, held=held)
    return {"kind": "numpy", "path": "pets.npz", "array": "pixels"}


WRITERS = [
    csv_table,
    tsv_of_another_folder,
    json_lines,
    parquet_with_bytes,
    parquet_with_pixels,
    parquet_with_paths,
    parquet_files_by_pattern,
    list_of_csv_tables,
    hugging_face,
    webdataset,
    webdataset_in_a_folder_with_classes_in_members,
    numpy_file,
    numpy_archive,
]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    return root


def labels_of(writer):
    if writer is webdataset_in_a_folder_with_classes_in_members:
        return {"kind": {"from": "column", "column": "cls"}, "traits": {"from": "column", "column": "held.txt"}}
    return BY_COLUMN


def check_rows(case, name):
    reader, batch = read(case, name)
    assert len(reader) == 5
    order = [next(i for i in range(5) if (row == pixels(i).transpose(2, 0, 1)).all()) for row in batch.inputs]
    assert sorted(order) == list(range(5))
    assert batch.labels["kind"].tolist() == [KIND[i] for i in order]
    assert batch.labels["traits"].tolist() == [TRAITS[i] for i in order]
    assert reader.ids == sorted(reader.ids)
    return reader.ids


def test_every_kind_of_source_gives_the_same_inputs_and_labels(tmp_path, ray_local):
    sets = {}
    for writer in WRITERS:
        place = tmp_path / "data" / writer.__name__
        place.mkdir(parents=True)
        source = writer(place)
        paths = [source["path"]] if isinstance(source["path"], str) else source["path"]
        source = source | {"path": [f"{writer.__name__}/{path}" for path in paths]}
        sets[writer.__name__] = {"source": source, "labels": labels_of(writer)}
    write_what_every_case_needs(tmp_path / "data")
    case = case_of(tmp_path / "data", tmp_path, sets | {"test": TEST})
    made = ingest(case)
    for name in sets:
        check_rows(case, name)
        assert made.manifests[name].rows_in == made.manifests[name].rows == 5


@pytest.mark.parametrize("pack", ["zip", "deflated zip", "tar", "tar.gz", "tar.xz"])
def test_what_lies_in_an_archive_is_read_in_place(root, tmp_path, ray_local, pack):
    inside = tmp_path / "inside"
    inside.mkdir()
    sources = {writer.__name__: writer(inside / writer.__name__) for writer in _made_in(inside)}
    members = [(str(f.relative_to(inside)), f.read_bytes()) for f in sorted(inside.rglob("*")) if f.is_file()]
    ending = pack.split()[-1]
    if ending == "zip":
        how = zipfile.ZIP_DEFLATED if pack.startswith("deflated") else zipfile.ZIP_STORED
        with zipfile.ZipFile(root / "all.zip", "w", how) as archive:
            for name, content in members:
                archive.writestr(f"top/{name}", content)
    else:
        mode = "w:" + ending.partition(".")[2]
        _tar(root / f"all.{ending}", [(f"top/{name}", content) for name, content in members], mode)
    sets = {
        name: {"source": source | {"path": f"all.{ending}/{name}/{source['path']}"}, "labels": BY_COLUMN}
        for name, source in sources.items()
    }
    sets["folder"] = {
        "source": {"kind": "image_folder", "path": f"all.{ending}/top/csv_table"},
        "labels": {"kind": {"from": "folder"}},
    }
    case = case_of(
        root, tmp_path, sets | {"test": TEST, "for_traits": TRAITS_TO_LEARN}, "tasks.kind.aliases={pictures: cat}"
    )
    ingest(case)
    for name in sources:
        check_rows(case, name)
    assert read(case, "folder")[0].ids == [f"pictures/{i}.png" for i in range(5)]


def _made_in(inside):
    for writer in (csv_table, tsv_of_another_folder, parquet_with_bytes, parquet_with_paths, json_lines, numpy_file):
        (inside / writer.__name__).mkdir()
        yield writer


def test_ids_come_from_the_source_and_say_which_of_several_places(root, tmp_path, ray_local):
    source, labels = list_of_csv_tables(root), BY_COLUMN
    case = case_of(root, tmp_path, {"pets": {"source": source, "labels": labels}, "test": TEST})
    ingest(case)
    assert read(case, "pets")[0].ids == [
        "one.csv/pictures/0.png", "one.csv/pictures/1.png",
        "two.csv/pictures/2.png", "two.csv/pictures/3.png", "two.csv/pictures/4.png",
    ]  # fmt: skip


def test_a_pattern_finds_folders_and_archives_and_stars_stay_within_a_name(tmp_path):
    for name in ("a/site-1/x.png", "a/site-2/x.png", "a/deep/site-3/x.png", "a/site-4.txt"):
        write(tmp_path / name, b"x")
    with zipfile.ZipFile(tmp_path / "a" / "site-9.zip", "w") as archive:
        archive.writestr("x.png", b"x")
    names = lambda *paths, files: [place.name for place in find_places(str(tmp_path), paths, files=files)]  # noqa: E731
    assert names("a/site-*", files=False) == ["a/site-1", "a/site-2", "a/site-9.zip"]
    assert names("a/**site-*", files=False) == ["a/deep/site-3", "a/site-1", "a/site-2", "a/site-9.zip"]
    assert names("a/site-*", files=True) == ["a/site-4.txt", "a/site-9.zip"]
    assert names("a/*/x.png", "a/site-4.txt", files=True) == ["a/site-1/x.png", "a/site-2/x.png", "a/site-4.txt"]
    with pytest.raises(NothingThereError, match="nothing"):
        names("a/nothing-*", files=True)


def listed(root, source):
    """List a source without Ray; return the ids and the fields."""
    found = list_source(str(root), SOURCE.validate_python(source))
    return found.rows["id"].to_pylist(), found.fields.to_pydict(), found.rows["refused"].to_pylist()


def test_every_path_of_a_list_must_lead_somewhere_and_every_place_hold_something(root):
    write(root / "a" / "x.png", b"x")
    (root / "empty").mkdir()
    with pytest.raises(UserError, match="nothing lies at typo below"):
        listed(root, {"kind": "image_folder", "path": ["a", "typo"]})
    with pytest.raises(UserError, match="empty: found no row in it"):
        listed(root, {"kind": "image_folder", "path": ["a", "empty"]})


def test_no_row_stands_twice_because_paths_overlap(root):
    write(root / "a" / "b" / "x.png", b"x")
    assert listed(root, {"kind": "image_folder", "path": ["a", "./a", "a/"]})[0] == ["a/b/x.png"]
    with pytest.raises(UserError, match="found 'a/b', which lies in 'a'"):
        listed(root, {"kind": "image_folder", "path": ["a", "a/b"]})


def test_the_place_itself_may_be_the_class_folder(root):
    for name in ("train/cat/1.png", "train/dog/2.png"):
        write(root / name, b"x")
    assert listed(root, {"kind": "image_folder", "path": "train/*"})[1] == {"folder": ["cat", "dog"]}
    assert listed(root, {"kind": "image_folder", "path": "train/dog"})[1] == {"folder": ["dog"]}


def test_links_are_followed_wherever_they_lead_and_one_that_leads_nowhere_is_a_row(root):
    write(root / "real" / "x.png", b"x")
    (root / "p" / "a").mkdir(parents=True)
    for link in ("a/one", "b", "c"):
        (root / "p" / link).symlink_to(root / "real")
    (root / "p" / "a" / "back").symlink_to(root / "p")
    (root / "p" / "gone.png").symlink_to(root / "nowhere.png")
    ids = listed(root, {"kind": "image_folder", "path": "p"})[0]
    assert ids == ["a/one/x.png", "b/x.png", "c/x.png", "gone.png"]


def test_tars_made_of_a_dot_and_macos_zips_are_read_as_what_they_hold(root):
    _tar(root / "dot.tar", [("./top/labels.csv", b"file,kind\nx.png,cat\n"), ("./top/x.png", b"x")])
    assert listed(root, {"kind": "csv", "path": "dot.tar/top/labels.csv"})[2] == [None]
    with zipfile.ZipFile(root / "mac.zip", "w") as archive:
        for name in ("pets/cat/x.png", "__MACOSX/pets/cat/._x.png", "pets/cat/._x.png", "pets/.DS_Store"):
            archive.writestr(name, b"x")
    assert listed(root, {"kind": "image_folder", "path": "mac.zip/cat"})[0] == ["x.png"]


def test_the_folder_before_two_slashes_is_the_class(root):
    with zipfile.ZipFile(root / "odd.zip", "w") as archive:
        for name in ("pets/cat//x.png", "dog//y.png", "z.png"):
            archive.writestr(name, b"x")
    ids, fields, _ = listed(root, {"kind": "image_folder", "path": "odd.zip"})
    assert dict(zip(ids, fields["folder"], strict=True)) == {"pets/cat//x.png": "cat", "dog//y.png": "dog", "z.png": ""}


def test_a_table_between_tabs_has_no_quotes_and_one_between_commas_closes_them(root):
    write(root / "a.tsv", 'file\tkind\n1.png\ta "he said\n2.png\tb\n3.png\tc "no\n')
    tsv = {"kind": "csv", "path": "a.tsv", "delimiter": "\t"}
    assert listed(root, tsv)[1]["kind"] == ['a "he said', "b", 'c "no']
    write(root / "a.csv", 'file,kind\n1.png,"two\nlines"\n2.png,b\n')
    assert listed(root, {"kind": "csv", "path": "a.csv"})[1]["kind"] == ["two\nlines", "b"]
    write(root / "b.csv", 'file,kind\n1.png,"a\n2.png,b\n')
    with pytest.raises(UserError, match="line 2: a quotation mark opens a cell here and is never closed"):
        listed(root, {"kind": "csv", "path": "b.csv"})


def test_a_class_number_that_has_no_name_is_no_missing_annotation(root):
    features = {"kind": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"image": [b"x"] * 3, "kind": [1, 7, -1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, root / "train-00000.parquet")
    source = {"kind": "hugging_face", "path": "."}
    assert listed(root, source)[1]["kind"] == ["dog", "7", None]


@pytest.mark.parametrize("way", ["parquet", "tar.gz"])
def test_rows_in_another_order_than_their_file_are_read_right(root, way):
    order = np.random.Generator(np.random.PCG64(0)).permutation(40)
    contents = [f"content {i}".encode() for i in range(40)]
    if way == "parquet":
        names = [f"{i:02d}" for i in order]
        pq.write_table(
            pa.table({"image": [contents[i] for i in order], "name": names}), root / "x.parquet", row_group_size=7
        )
        source = {"kind": "parquet", "path": "x.parquet", "id_column": "name"}
    else:
        _tar(root / "x.tar.gz", [(f"{i:02d}.png", contents[i]) for i in order], "w:gz")
        source = {"kind": "image_folder", "path": "x.tar.gz"}
    source = SOURCE.validate_python(source)
    rows = list_source(str(root), source).rows.sort_by("id")
    data_set = DataSet(source=source, labels={"kind": {"from": "folder"}})
    assert list(read_inputs(rows, data_set)) == contents


# Vectors


VECTORS = np.random.Generator(np.random.PCG64(7)).normal(size=(5, 3)).astype(np.float32)
INPUT = {"kind": "vector", "size": 3}
TEST_OF_VECTORS = {
    "source": {"kind": "csv", "path": "test.csv", "vector_columns": ["f1", "f2", "f3"]},
    "labels": {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}},
    "split": "test",
}


def csv_of_vectors(root):
    rows = [[repr(float(v)) for v in VECTORS[i]] + [WORDS[i] or "", _held_as_text(HELD[i])] for i in range(5)]
    # written out of order: patterns take numbers in names in numeric order
    lines = [",".join(["f10", "f2", "f1", "kind", "held"]), *(",".join([r[2], r[1], r[0], *r[3:]]) for r in rows)]
    write(root / "pets.csv", "\n".join(lines))
    return {"kind": "csv", "path": "pets.csv", "vector_columns": ["f*"]}


def json_lines_of_vectors(root):
    rows = [{"x": VECTORS[i].tolist(), "kind": WORDS[i], "held": HELD[i]} for i in range(5)]
    write(root / "pets.jsonl", "\n".join(json.dumps(row) for row in rows))
    return {"kind": "json_lines", "path": "pets.jsonl", "vector_columns": "x"}


def parquet_of_vectors(root):
    pq.write_table(pa.table({"x": VECTORS.tolist(), "kind": WORDS, "held": HELD}), root / "pets.parquet")
    return {"kind": "parquet", "path": "pets.parquet", "vector_columns": ["x"]}


def parquet_of_numbers(root):
    columns = {name: VECTORS[:, i] for i, name in enumerate(("f1", "f2", "f10"))}
    pq.write_table(pa.table(columns | {"kind": WORDS, "held": HELD}), root / "pets.parquet", row_group_size=2)
    return {"kind": "parquet", "path": "pets.parquet", "vector_columns": ["f1", "f2", "f10"]}


def numpy_of_vectors(root):
    np.save(root / "x.npy", VECTORS.astype(np.float64))
    np.save(root / "kind.npy", np.array([word or "" for word in WORDS]))
    np.save(root / "held.npy", np.array([[np.nan if t == -1 else t for t in row] for row in TRAITS]))
    return {"kind": "numpy", "path": "x.npy", "columns": {"kind": "kind.npy", "held": "held.npy"}}


def numpy_of_vectors_in_columns_order(root):
    np.save(root / "x.npy", np.asfortranarray(VECTORS))
    np.save(root / "kind.npy", np.array([word or "" for word in WORDS]))
    np.save(root / "held.npy", np.array([[np.nan if t == -1 else t for t in row] for row in TRAITS]))
    return {"kind": "numpy", "path": "x.npy", "columns": {"kind": "kind.npy", "held": "held.npy"}}


VECTOR_WRITERS = [
    csv_of_vectors,
    json_lines_of_vectors,
    parquet_of_vectors,
    parquet_of_numbers,
    numpy_of_vectors,
    numpy_of_vectors_in_columns_order,
]


def test_vectors_come_from_tables_and_arrays(tmp_path, ray_local):
    root, sets = tmp_path / "data", {}
    for writer in VECTOR_WRITERS:
        (root / writer.__name__).mkdir(parents=True)
        source = writer(root / writer.__name__)
        source |= {"path": f"{writer.__name__}/{source['path']}"}
        sets[writer.__name__] = {"source": source, "labels": BY_COLUMN}
    write(root / "test.csv", "f1,f2,f10,kind,furry,flies\n1,2,3,cat,1,0\n3,2,1,dog,0,1\n")
    test = TEST_OF_VECTORS | {"source": TEST_OF_VECTORS["source"] | {"vector_columns": ["f1", "f2", "f10"]}}
    case = case_of(root, tmp_path, sets | {"test": test}, input=INPUT)
    assert isinstance(case.input, VectorInput)
    ingest(case)
    for name in sets:
        _, batch = read(case, name)
        assert batch.inputs.dtype == np.float32
        np.testing.assert_array_equal(batch.inputs, VECTORS)
        assert batch.labels["kind"].tolist() == KIND
        assert batch.labels["traits"].tolist() == TRAITS


def test_a_network_learns_from_vectors(tmp_path, ray_local):
    rng = np.random.Generator(np.random.PCG64(3))
    x = rng.normal(size=(300, 3)).astype(np.float32)
    kind, furry = np.where(x[:, 0] > 0, "cat", "dog"), (x[:, 0] > 0).astype(int)
    for name, rows in (("train", slice(0, 200)), ("test", slice(200, 300))):
        lines = [f"{a},{b},{c},{k},{t},0" for (a, b, c), k, t in zip(x[rows], kind[rows], furry[rows], strict=True)]
        write(tmp_path / "data" / f"{name}.csv", "\n".join(["f1,f2,f3,kind,furry,flies", *lines]))
    train = TEST_OF_VECTORS | {"split": "train"}
    train = train | {"source": train["source"] | {"path": "train.csv"}}
    training = {"steps": 60, "batch_size": 32, "optimizer": {"lr": 0.01}}
    arms = {"single-task": {"networks": "one_per_task"}}
    case = case_of(
        tmp_path / "data",
        tmp_path,
        {"train": train, "test": TEST_OF_VECTORS},
        input=INPUT,
        training=training,
        arms=arms,
    )
    outcome = run_here(case)
    assert outcome.results.arms["single-task"]["kind"].mean() > 0.9


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"input": INPUT}, r"datasets.pets.source.vector_columns: missing; inputs are vectors"),
        ({"vector_columns": ["f1"]}, r"datasets.pets.source.vector_columns: found \['f1'\], and inputs are images"),
        ({"path": "petz.csv"}, r"nothing lies at .*petz.csv.*did you mean 'pets.csv'"),
        ({"file_column": "fil"}, r"there is no column 'fil'; did you mean 'file'"),
    ],
)
def test_a_source_that_does_not_fit_is_told(root, tmp_path, ray_local, change, words):
    sections = {key: change.pop(key) for key in ("input",) if key in change}
    source = csv_table(root) | change
    test = TEST if not sections else TEST_OF_VECTORS
    write(root / "test.csv", "f1,f2,f3,kind,furry,flies\n1,2,3,cat,1,0\n")
    with pytest.raises(UserError, match=words):
        ingest(case_of(root, tmp_path, {"pets": {"source": source, "labels": BY_COLUMN}, "test": test}, **sections))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_may_be_an_input_and_a_label_where_the_source_says_so(tmp_path, kind):
    table = pa.table({"x1": [1.0, 2.0], "x2": [3.0, 4.0], "y": [5.0, 6.0]})
    if kind == "csv":
        (tmp_path / "t.csv").write_text("x1,x2,y\n1,3,5\n2,4,6\n")
    else:
        pq.write_table(table, tmp_path / "t.parquet")
    source = {"kind": kind, "path": f"t.{kind}", "vector_columns": ["x*"]}
    alone = list_source(str(tmp_path), SOURCE.validate_python(source))
    both = list_source(str(tmp_path), SOURCE.validate_python(source | {"label_columns": ["x2"]}))
    assert alone.fields.column_names == ["y"]
    assert sorted(both.fields.column_names) == ["x2", "y"]
    assert [float(value) for value in both.fields["x2"].to_pylist()] == [3, 4]


def test_a_parquet_file_that_several_paths_name_is_read_once(tmp_path):
    (tmp_path / "written").mkdir()
    for name in ("a", "b", "written/part-0"):
        pq.write_table(pa.table({"kind": ["cat"]}), tmp_path / f"{name}.parquet")
    source = TypeAdapter(Source).validate_python({"kind": "parquet", "path": ["written", "*.parquet", "a.parquet"]})
    found = [place.name for place in source.find_places(str(tmp_path))]
    assert found == ["a.parquet", "b.parquet", "written/part-0.parquet"]
