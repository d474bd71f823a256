"""Small valid files of every kind of source, what damages them, and what must hold of whatever comes of it."""

import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base.errors import UserError
from pipelines.case.data import DataSet, PictureInput, VectorInput
from pipelines.ingest.decode import decode_input
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import read_inputs
from tests.corpus.images import encoded, halves
from tests.pipelines.ingest_case import picture, write

COLUMN = {"kind": {"from": "column", "column": "kind"}}
FOLDERS = {"kind": {"from": "folder"}}
KINDS = ("cat", "dog", "cat", "dog")
NUMBERS = np.arange(12, dtype=np.float32).reshape(4, 3) / 8
VECTORS = VectorInput(kind="vector", size=3)
PICTURES = PictureInput(height=12, width=10)


@dataclass(frozen=True)
class Seed:
    """A source that is whole: its files, the one to be damaged, its settings, labels and the input that it holds."""

    name: str
    files: dict[str, bytes]
    damaged: str
    source: dict[str, Any]
    labels: dict[str, Any] = field(default_factory=lambda: COLUMN)
    input: PictureInput | VectorInput = PICTURES
    rows: int = 4


def zip_file(members, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return buffer.getvalue()


def tar_file(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def parquet_file(columns, metadata=None, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata(metadata)
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def npz_file(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy_file(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _seeds():
    images = {f"{i}.png": picture(i) for i in range(4)}
    in_folders = {f"{kind}/{i}.png": images[f"{i}.png"] for i, kind in enumerate(KINDS)}
    names = list(images)
    numbered = [{"kind": kind, "v": NUMBERS[i].tolist()} for i, kind in enumerate(KINDS)]
    features = {"info": {"features": {"kind": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}}
    samples = {f"{i:03}.{end}": c for i in range(4) for end, c in (("png", picture(i)), ("cls", KINDS[i].encode()))}
    in_json = {f"{i:03}.{e}": c for i in range(4) for e, c in
               (("png", picture(i)), ("json", json.dumps({"kind": KINDS[i]}).encode()))}  # fmt: skip
    wide = {f"v{k}": NUMBERS[:, k] for k in range(3)}
    rows = "\n".join(["kind,v0,v1,v2", *(f"{k},{','.join(map(str, NUMBERS[i]))}" for i, k in enumerate(KINDS))])
    over_time = "\n".join(["t,load", *(f"{i},{i % 5}.5" for i in range(12))])
    jpeg = {"cat/a.jpg": encoded(halves(), "JPEG"), "dog/b.webp": encoded(halves(), "WEBP")}
    jpeg |= {"cat/c.tif": encoded(halves(), "TIFF"), "dog/d.gif": encoded(halves(), "GIF")}
    folder = {"kind": "image_folder", "path": "."}
    for name in jpeg:
        yield Seed(f"folder-{name[-3:]}", jpeg, name, folder, FOLDERS)
    yield Seed("folder-png", in_folders, "cat/0.png", folder, FOLDERS)
    archives = {
        "zip": zip_file(in_folders),
        "stored.zip": zip_file(in_folders, zipfile.ZIP_STORED),
        "tar": tar_file(in_folders),
        "tar.gz": tar_file(in_folders, "w:gz"),
        "tar.xz": tar_file(in_folders, "w:xz"),
    }
    for name, content in archives.items():
        file = f"a.{name}"
        yield Seed(name, {file: content}, file, {"kind": "image_folder", "path": file}, FOLDERS)
    csv = "\n".join(["file,kind", *(f"{n},{k}" for n, k in zip(names, KINDS, strict=True))]).encode()
    yield Seed("csv", images | {"t.csv": csv}, "t.csv", {"kind": "csv", "path": "t.csv"})
    of_numbers = {"kind": "csv", "path": "t.csv", "vector_columns": ["v0", "v1", "v2"]}
    yield Seed("csv-numbers", {"t.csv": rows.encode()}, "t.csv", of_numbers, input=VECTORS)
    lines = "\n".join(json.dumps({"file": n, "kind": k}) for n, k in zip(names, KINDS, strict=True)).encode()
    yield Seed("json-lines", images | {"t.jsonl": lines}, "t.jsonl", {"kind": "json_lines", "path": "t.jsonl"})
    lines = "\n".join(json.dumps(one) for one in numbered).encode()
    in_lists = {"kind": "json_lines", "path": "t.jsonl", "vector_columns": "v"}
    yield Seed("json-numbers", {"t.jsonl": lines}, "t.jsonl", in_lists, input=VECTORS)
    table = {"kind": "parquet", "path": "t.parquet"}
    for name, options in (("parquet", {"compression": "none"}), ("parquet-snappy", {"row_group_size": 2})):
        content = parquet_file({"image": list(images.values()), "kind": KINDS}, **options)
        yield Seed(name, {"t.parquet": content}, "t.parquet", table)
    content = parquet_file({"v": NUMBERS.tolist(), "kind": pa.array(KINDS).dictionary_encode()})
    yield Seed("parquet-lists", {"t.parquet": content}, "t.parquet", table | {"vector_columns": "v"}, input=VECTORS)
    content = parquet_file(wide | {"kind": list(KINDS)})
    named = {"vector_columns": ["v0", "v1", "v2"]}
    yield Seed("parquet-numbers", {"t.parquet": content}, "t.parquet", table | named, input=VECTORS)
    content = parquet_file({"image": [picture(i) for i in range(4)], "kind": [0, 1, 0, 1]},
                       {"huggingface": json.dumps(features)})  # fmt: skip
    hub = {"kind": "hugging_face", "path": "."}
    yield Seed("hugging-face", {"data/train-0.parquet": content}, "data/train-0.parquet", hub)
    word = {"kind": {"from": "column", "column": "cls"}}
    yield Seed("webdataset", {"a.tar": tar_file(samples)}, "a.tar", {"kind": "webdataset", "path": "a.tar"}, word)
    yield Seed("webdataset-gz", {"a.tar.gz": tar_file(in_json, "w:gz")}, "a.tar.gz",
               {"kind": "webdataset", "path": "a.tar.gz"})  # fmt: skip
    arrays = {"kind": "numpy", "path": "a.npz"}
    yield Seed("npz", {"a.npz": npz_file(x=NUMBERS, kind=np.array(KINDS))}, "a.npz", arrays, input=VECTORS)
    npy = {"kind": "numpy", "path": "x.npy", "columns": {"kind": "k.npy"}}
    of_npy = {"x.npy": npy_file(NUMBERS), "k.npy": npy_file(np.array(KINDS))}
    yield Seed("npy", of_npy, "x.npy", npy, input=VECTORS)
    yield Seed("npy-column", of_npy, "k.npy", npy, input=VECTORS)
    series = {"kind": "series", "path": "t.csv", "time_column": "t", "value_columns": "load", "window": 3}
    rises = {"kind": {"from": "column", "column": "load_rises_in_1", "values": {"true": "cat", "false": "dog"}}}
    yield Seed("series", {"t.csv": over_time.encode()}, "t.csv", series, rises, VECTORS, rows=9)


SEEDS = tuple(_seeds())


def damaged(content, draw):
    """Return a file's bytes with some of them changed, cut out, repeated, or put elsewhere.

    Args:
        content: of the file.
        draw: (low, high) to an integer between them, both included.
    """
    content = bytearray(content)
    for _ in range(draw(1, 3)):
        n = len(content)
        if not n:
            break
        at, way = draw(0, n - 1), draw(0, 7)
        length = draw(1, 16) if draw(0, 1) else draw(1, n)
        if way <= 1:
            content[at] ^= 1 << draw(0, 7)
        elif way == 2:
            content[at] = (0, 9, 10, 34, 44, 123, 128, 255)[draw(0, 7)]
        elif way == 3:
            del content[at:]
        elif way == 4:
            del content[at : at + length]
        elif way == 5:
            content[at:at] = content[at : at + length]
        elif way == 6:
            there = draw(0, n - 1)
            content[there : there + length] = content[at : at + length]
        else:
            content[at : at + length] = bytes(min(length, n - at))
    return bytes(content)


def outcome_of(any_case, root, seed, content):
    """Put a damaged file among the others, list the source and read every input.

    Returns:
        "read", or what the user is told.

    Raises:
        AssertionError: a row is lost or counted twice, or an input is none.
        Exception: what a user must never see.
    """
    for name, whole in seed.files.items():
        write(root / name, content if name == seed.damaged else whole)
    data_set = DataSet.model_validate({"source": seed.source, "labels": seed.labels})
    given = {"data_root": str(root), "datasets": {"pets": data_set}, "input": seed.input}
    case = any_case.model_copy(update=given)
    try:
        listed = list_data_set(case, "pets")
    except UserError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert len(told) < 2000
        assert str(root) in told or "datasets.pets" in told, told
        return told
    n = listed.rows.num_rows
    assert n == len(listed.fields)
    assert len(set(listed.rows["id"].to_pylist())) == n, "an id stands twice"
    assert not any(reason is None for reason in listed.refused["reason"].to_pylist())
    found = list(read_inputs(listed.rows, data_set)) if n else []
    assert len(found) == n, "inputs were lost"
    for one in found:
        if isinstance(one, Exception):
            continue
        try:
            decoded, _ = decode_input(one, seed.input)
        except Exception:  # whatever it is, the ingest sends its row to quarantine
            continue
        assert decoded.shape == seed.input.shape
    return "read"
