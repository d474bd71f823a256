"""Sources of every kind as people have them, and as damage leaves them: what each comes to, or what is told."""

import io
import json
import os
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.case.data import PictureInput, VectorInput
from tests.corpus.mutations import (
    COLUMN,
    FOLDERS,
    NUMBERS,
    PICTURES,
    VECTORS,
    npy_file,
    npz_file,
    parquet_file,
    tar_file,
    zip_file,
)
from tests.pipelines.ingest_case import picture, write

FOLDER = {"kind": "image_folder", "path": "."}
ZIP, TAR, GZ = ({"kind": "image_folder", "path": f"a.{end}"} for end in ("zip", "tar", "tar.gz"))
PARQUET, NPZ = {"kind": "parquet", "path": "t.parquet"}, {"kind": "numpy", "path": "a.npz"}
NPY = {"kind": "numpy", "path": "x.npy", "columns": {"kind": "k.npy"}}
LINES = {"kind": "json_lines", "path": "t.jsonl", "vector_columns": "v"}
UNSAFE = "refused: an absolute path or '..' in an archive"
FEW = ("cat", "dog", "cat", "dog")


@dataclass(frozen=True)
class Place:
    """What lies there, how it is read, and the labels, reasons and remarks that come of it; or what is told."""

    name: str
    make: Callable[[Path], Any]
    source: dict[str, Any]
    expected: list[Any] = field(
        default_factory=list
    )  # labels of the rows whose inputs can be read, in the order of ids
    refused: dict[str, str] = field(default_factory=dict)  # reasons by id, each as it begins, of inputs too
    notes: dict[str, int] = field(default_factory=dict)
    told: str | None = None
    labels: dict[str, Any] = field(default_factory=lambda: COLUMN)
    input: PictureInput | VectorInput = PICTURES
    select: dict[str, Any] | None = None


def files(**by_name):
    """Write files; `/` in a name is written as two underscores, a dot as one."""
    return lambda root: [write(root / n.replace("__", "/").replace("_", "."), c) for n, c in by_name.items()]


def pipes_and_links(root):
    """Links to a pipe, to bytes without end, to nothing and to themselves, all named as images are."""
    write(root / "cat" / "1.png", picture(1))
    os.mkfifo(root / "cat" / "pipe.png")
    for link, to in (("2", "cat/pipe.png"), ("4", "nowhere"), ("5", "cat/5.png")):
        (root / "cat" / f"{link}.png").symlink_to(root / to)
    (root / "cat" / "3.png").symlink_to("/dev/zero")


def links_in_a_circle(root):
    """A folder in itself."""
    write(root / "cat" / "1.png", picture(1))
    (root / "cat" / "again").symlink_to(root)


def pipe(name):
    return lambda root: os.mkfifo(root / name)


def names_that_are_no_text(root):
    """A name that is not UTF-8."""
    write(root / "cat" / "1.png", picture(1))
    Path(os.fsdecode(os.fsencode(root / "cat") + b"/\xff.png")).write_bytes(picture(2))


def much_of_nothing(size):
    """A file with a hole."""

    def make(root):
        with write(root / "cat" / "1.png", picture(1)).open("r+b") as file:
            file.truncate(size)
        write(root / "cat" / "2.png", picture(2))

    return make


def members_that_promise(size):
    """An archive whose list says that a member is large."""

    def make(root):
        content = bytearray(zip_file({"cat/1.png": picture(1), "cat/2.png": picture(2)}))
        at = content.index(b"PK\1\2")
        content[at + 24 : at + 28] = struct.pack("<I", size)
        write(root / "a.zip", bytes(content))

    return make


def tar_of(*members):
    """A tar archive, whose members may share a name."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return files(a_tar=buffer.getvalue())


def a_size_that_nothing_has():
    content = bytearray(tar_file({"cat/1.png": picture(1)}))
    content[124:136] = b"\x80" + (2**87).to_bytes(11, "big")
    content[148:156] = b"%06o\0 " % (sum(content[:148]) + 8 * 32 + sum(content[156:512]))
    return files(a_tar=bytes(content))


def a_wrong_checksum():
    content = bytearray(tar_file({"cat/1.png": picture(1)}, "w:gz"))
    content[-8] ^= 1
    return files(a_tar_gz=bytes(content))


def twice_in_a_zip(root):
    with warnings.catch_warnings(), zipfile.ZipFile(root / "a.zip", "w") as archive:
        warnings.simplefilter("ignore")
        for name, seed in (("cat/1.png", 1), ("cat/1.png", 2), ("dog/3.png", 3)):
            archive.writestr(name, picture(seed))


def table(columns, metadata=None, name="t_parquet"):
    return files(**{name: parquet_file(columns, metadata)})


def as_spark_writes_it(root):
    """A folder of files, by split, with the records of the program that wrote them."""
    for split, seed in (("train", 1), ("test", 2), ("__HIVE_DEFAULT_PARTITION__", 3), ("a%20b", 4)):
        content = parquet_file({"image": [picture(seed)], "kind": ["dog" if seed == 4 else "cat"]})
        write(root / "t.parquet" / f"split={split}" / f"part-0000{seed}-c000.snappy.parquet", content)
    write(root / "t.parquet" / "_SUCCESS", b"")
    write(root / "t.parquet" / "_temporary" / "0" / "part-00009.parquet", b"half of it")


def schemas_that_differ(root):
    write(root / "a.parquet", parquet_file({"image": [picture(1)], "kind": ["cat"]}))
    write(root / "b.parquet", parquet_file({"image": [picture(2)], "kind": [{"a": 1}], "more": [[1]]}))


def hub(metadata):
    columns = {"image": [picture(1), picture(2)], "kind": [0, 1]}
    return files(data__train_parquet=parquet_file(columns, {"huggingface": json.dumps(metadata)}))


ODD_LINES = (
    '{"kind":"cat","v":[1,2,3]}\n{"kind":"dog","v":[1,2,' + "9" * 400 + "]}\n"
    '{"kind":"dog","v":[1,2,' + "9" * 5000 + ']}\n{"kind":"dog","v":' + "[" * 3000 + "]" * 3000 + "}\n"
    '{"kind":"dog","v":[1e999,0,3]}\n{"kind":"dog","v":[1,"x",3]}\n{"kind":"dog","v":[]}\n'
)
GREY = (np.arange(120).reshape(12, 10) / 120).tolist()

PLACES = [
    Place(
        "pipes-and-links",
        pipes_and_links,
        FOLDER,
        [0],
        {
            "cat/pipe.png": "not a regular file",
            "cat/2.png": "not a regular file",
            "cat/3.png": "not a regular file",
            "cat/4.png": "missing file",
            "cat/5.png": "OSError: [Errno 40]",
        },
        labels=FOLDERS,
    ),
    Place("links-in-a-circle", links_in_a_circle, FOLDER, [0], labels=FOLDERS),
    Place(
        "no-text",
        names_that_are_no_text,
        FOLDER,
        [0],
        {"cat/\\udcff.png": "a name that is no text"},
        labels=FOLDERS,
    ),
    Place("a-pipe-for-a-table", pipe("t.csv"), {"kind": "csv", "path": "t.csv"}, told="found 't.csv', no regular file"),
    Place("a-pipe-for-an-archive", pipe("a.zip"), ZIP, told="found 'a.zip', no regular file", labels=FOLDERS),
    Place(
        "a-folder-for-a-table",
        files(t__x_csv="file,kind\n"),
        {"kind": "csv", "path": "t"},
        told="found 't', a folder; expected a file for a source of kind 'csv'; in it lies 'x.csv'",
    ),
    Place(
        "a-table-for-a-folder",
        files(t_csv="file,kind\n"),
        {"kind": "image_folder", "path": "t.csv"},
        told="found 't.csv', a file; expected a folder or an archive",
        labels=FOLDERS,
    ),
    Place("large", much_of_nothing(3 << 30), FOLDER, [0], {"cat/1.png": "too large: 3,221,225,472"}, labels=FOLDERS),
    Place("large-in-a-zip", members_that_promise(1 << 30), ZIP, [0], {"cat/1.png": "too large"}, labels=FOLDERS),
    Place("tar-size", a_size_that_nothing_has(), TAR, told="a.tar: broken archive", labels=FOLDERS),
    Place("gz-checksum", a_wrong_checksum(), GZ, told="a.tar.gz: broken archive: CRC", labels=FOLDERS),
    Place(
        "tars-put-together",
        files(a_tar=tar_file({"cat/1.png": picture(1)}) + tar_file({"dog/2.png": picture(2)})),
        TAR,
        [0, 1],
        labels=FOLDERS,
    ),
    Place(
        "something-behind-a-tar",
        files(a_tar=tar_file({"cat/1.png": picture(1)}) + b"no header" * 80),
        TAR,
        told="a.tar: broken archive",
        labels=FOLDERS,
    ),
    Place(
        "backslashes",
        files(a_tar=tar_file({"cat\\1.png": picture(1), "..\\dog\\2.png": picture(2)})),
        TAR,
        [0],
        {"../dog/2.png": UNSAFE},
        labels=FOLDERS,
    ),
    Place("twice-in-a-zip", twice_in_a_zip, ZIP, [1], {"cat/1.png": "duplicate id"}, labels=FOLDERS),
    Place(
        "samples",
        tar_of(
            ("0.png", picture(0)),
            ("0.cls", b"cat"),
            ("0.cls", b"dog"),
            ("1.png", picture(1)),
            ("1.cls", b"\xff\xfe"),
            ("2.png", picture(2)),
            ("2.PNG", picture(3)),
            ("2.cls", b"dog"),
            ("3.png", picture(4)),
            ("3.json", b"{bad"),
            ("x\\..\\..\\4.png", picture(5)),
            ("5.cls", b"cat"),
            ("6.png", picture(6)),
            ("6.cls", b"dog"),
        ),
        {"kind": "webdataset", "path": "a.tar"},
        [None, 1],
        {
            "0.png": "two members of one name: .cls",
            "2.png": "two members of one name: .png",
            "3.png": "broken sample: .json is not JSON",
            "x/../../4.png": "broken sample",
            "5": "no image in this sample",
        },
        {"members that are no text, and so no column: .cls": 1},
        labels={"kind": {"from": "column", "column": "cls"}},
    ),
    Place("npz-scalar", files(a_npz=npz_file(x=np.array(3.0))), NPZ, told="a.npz, array 'x': found one value"),
    Place("npz-empty", files(a_npz=b""), NPZ, told="a.npz: cannot be read as an .npz archive"),
    Place(
        "npz-foreign",
        files(
            a_npz=zip_file(
                {
                    "x.npy": npy_file(NUMBERS),
                    "kind.npy": npy_file(np.array(FEW)),
                    "read.me": b"hello",
                    "year.npy": npy_file(np.array(3)),
                }
            )
        ),
        NPZ,
        [0, 1, 0, 1],
        notes={"members of an .npz file that hold one value, no rows": 2},
        input=VECTORS,
    ),
    Place(
        "complex",
        files(x_npy=npy_file(NUMBERS + 1j), k_npy=npy_file(np.array(FEW))),
        NPY,
        [],
        dict.fromkeys((f"x.npy#00000000{i}" for i in range(4)), "no number: found values of type complex64"),
        input=VECTORS,
    ),
    Place(
        "odd-lines",
        files(t_jsonl=ODD_LINES),
        LINES,
        [0],
        {
            "t.jsonl#000000001": "NaN or infinite features",
            "t.jsonl#line-3": "not a JSON object",
            "t.jsonl#line-4": "not a JSON object",
            "t.jsonl#000000002": "NaN or infinite features",
            "t.jsonl#000000003": "no number: column 'v' holds 'x'",
            "t.jsonl#000000004": "wrong width",
        },
        input=VECTORS,
    ),
    Place(
        "schemas-that-differ",
        schemas_that_differ,
        {"kind": "parquet", "path": "*.parquet"},
        told="found the label '{\"a\": 1}'",
    ),
    Place(
        "no-id",
        table({"image": [picture(1), picture(2)], "kind": ["cat", "dog"], "id": ["x", None]}),
        PARQUET | {"id_column": "id"},
        [1, 0],
    ),
    Place(
        "views",
        table({"image": [picture(1), picture(2)], "kind": pa.array(["cat", "dog"], pa.string_view())}),
        PARQUET,
        [0, 1],
    ),
    Place(
        "text-in-bytes",
        lambda root: (
            files(x_png=picture(1))(root),
            table({"image": [b"x.png", b"y.png"], "kind": [b"cat", b"dog"]})(root),
        ),
        PARQUET,
        [0],
        {"y.png": "missing file"},
    ),
    Place(
        "a-column-twice",
        files(t_parquet=parquet_file(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["kind", "kind"]))),
        PARQUET,
        told="found two columns 'kind'",
    ),
    Place(
        "pixels-in-a-cell",
        files(
            t_csv="kind,pixels\ncat,"
            + " ".join(map(str, range(144)))
            + '\ndog,"0,1,0,1"\ncat,\ndog,1 2 3 4 5\ndog,a b\n'
        ),
        {"kind": "csv", "path": "t.csv", "pixels_column": "pixels"},
        [0, 1],
        {
            "t.csv#000000002": "missing value: column 'pixels'",
            "t.csv#000000003": "no square image: found 5 numbers",
            "t.csv#000000004": "no number: column 'pixels' holds 'a b'",
        },
    ),
    Place("floats-in-lists", table({"image": [GREY, GREY], "kind": ["cat", "dog"]}), PARQUET, [0, 1]),
    Place(
        "spark",
        as_spark_writes_it,
        PARQUET,
        [0],
        select={"where": {"split": "train"}},
    ),
    Place(
        "spark-partition-as-label",
        as_spark_writes_it,
        PARQUET,
        [None, 1, 0, 0],
        labels={"kind": {"from": "column", "column": "split", "values": {"a b": "dog", "train": "cat", "test": "cat"}}},
    ),
    *(
        Place(f"hub-{i}", hub(metadata), {"kind": "hugging_face", "path": "."}, told="found the label '0'")
        for i, metadata in enumerate(
            (
                [],
                {"info": {"features": []}},
                {"info": {"features": {"kind": {"_type": "ClassLabel", "names": None}}}},
                {"info": {"features": {"kind": {"_type": "ClassLabel"}}}},
            )
        )
    ),
]
