"""AffectNet: faces from the web with an expression, valence and arousal."""

import io
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.sources.published._common import (
    decode,
    find,
    locate,
    matching,
    nothing,
    parse,
    parts_of,
    read_all,
    refuse_intensity,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

LISTS = {"train": "training.csv", "val": "validation.csv"}
EXPRESSIONS = {
    0: "neutral",
    1: "happiness",
    2: "sadness",
    3: "surprise",
    4: "fear",
    5: "disgust",
    6: "anger",
    7: "contempt",
    8: None,  # none of these
    9: None,  # uncertain
    10: None,  # no face
}
_FACE = ["face_x", "face_y", "face_width", "face_height", "facial_landmarks"]
_COLUMNS = ["subDirectory_filePath", *_FACE, "expression", "valence", "arousal"]
_IMAGES = "Manually_Annotated_Images"
_NOT_ANNOTATED = -2  # of valence and arousal


class AffectNet(PublishedSet):
    """AffectNet as a source; see :func:`read_affectnet`."""

    kind: Literal["affectnet"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_affectnet(tree, self)


def read_affectnet(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read A. Mollahosseini, B. Hasani, M. H. Mahoor, "AffectNet: A Database for Facial Expression, Valence, and
    Arousal Computing in the Wild", IEEE Transactions on Affective Computing 10, 2019
    (http://mohammadmahoor.com/affectnet).

    Layout of the first release (the manually annotated part of it)::

        Manually_Annotated_file_lists/training.csv, validation.csv      (or wherever they lie)
            subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal
            689/737db2....jpg,134,134,899,899,181.64;530.91;...,1,0.785714,-0.055556    (the header may be missing)
        Manually_Annotated_Images/689/737db2....jpg

    Layout of the release with 8 labels, read where those lists are not there::

        train_set/images/0.jpg, val_set/images/0.jpg
        train_set/annotations/0_exp.npy, 0_val.npy, 0_aro.npy           (numbers, or strings that are numbers)

    The whole image is read, not the face's box in it (the second release is cropped).

    Parts: train (training.csv, train_set), val (validation.csv, val_set).

    Columns: ``expression`` (8; null for the codes 8 none, 9 uncertain, 10 no face), ``valence``, ``arousal`` (-1 to 1;
    null for -2).
    """
    refuse_intensity(source)
    parts = parts_of(source, LISTS)
    if any(find(tree, source, ending) for ending in LISTS.values()):
        return pa.concat_tables(_listed(tree, source, part) for part in parts)
    return pa.concat_tables(_in_arrays(tree, source, part) for part in parts)


def _listed(tree: Tree, source: PublishedSet, part: str) -> pa.Table:
    name = locate(tree, source, f"Manually_Annotated_file_lists/{LISTS[part]}", LISTS[part])
    images = matching(tree, f"^(?P<folder>(?:.*/)?{_IMAGES}/)")
    if not len(images):
        raise nothing(tree, source, f"'{_IMAGES}/'")
    raw = tree.read(name)
    skip = int(_COLUMNS[0].encode() in raw[:100])
    types = {_COLUMNS[0]: pa.string(), "expression": pa.int32(), "valence": pa.float64(), "arousal": pa.float64()}
    rows = parse(tree, name, raw, _COLUMNS, types, skip=skip, right=f"'{','.join(_COLUMNS)}'")
    return pa.table(
        {
            "picture": pc.binary_join_element_wise(images["folder"][0].as_py(), rows[_COLUMNS[0]], ""),
            "expression": decode(tree, name, rows["expression"], EXPRESSIONS, first_line=1 + skip),
            "valence": _annotated(rows["valence"]),
            "arousal": _annotated(rows["arousal"]),
        }
    )


def _in_arrays(tree: Tree, source: PublishedSet, part: str) -> pa.Table:
    files = matching(tree, rf"^(?P<set>(?:.*/)?{part}_set/)annotations/(?P<picture>[^/]+)_exp\.npy$")
    if not len(files):
        lists = " or ".join(repr(name) for name in LISTS.values())
        raise nothing(tree, source, f"{lists}, and no '{part}_set/annotations/*_exp.npy'")
    values = {}
    for kind in ("exp", "val", "aro"):
        names = pc.replace_substring_regex(files["name"], r"_exp\.npy$", f"_{kind}.npy")
        numbers = (_number(tree, name, raw) for name, raw in zip(names.to_pylist(), read_all(tree, names), strict=True))
        values[kind] = pa.array(numbers, pa.float64())
    codes = values["exp"]
    unknown = pc.invert(pc.is_in(codes, pa.array(list(EXPRESSIONS), pa.float64())))
    if pc.any(unknown).as_py():
        i = pc.index(unknown, True).as_py()
        raise UserError(f"{tree}: {files['name'][i].as_py()!r}: found the code {codes[i]}; expected one of 0 to 10")
    return pa.table(
        {
            "picture": pc.binary_join_element_wise(files["set"], "images/", files["picture"], ".jpg", ""),
            "expression": decode(tree, "", codes.cast(pa.int32()), EXPRESSIONS),
            "valence": _annotated(values["val"]),
            "arousal": _annotated(values["aro"]),
        }
    )


def _number(tree: Tree, name: str, raw: bytes) -> float:
    try:
        value: float = np.load(io.BytesIO(raw), allow_pickle=False).astype(np.float64).item()
        return value
    except (ValueError, EOFError, TypeError) as error:
        raise UserError(f"{tree}: {name!r}: {error}; expected an array of one number") from None


def _annotated(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.if_else(pc.equal(values, _NOT_ANNOTATED), pa.scalar(None, pa.float64()), values)
