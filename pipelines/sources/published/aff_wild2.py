"""Aff-Wild2 (the ABAW competitions): frames of videos with expression, action units, valence and arousal."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.sources.published._common import (
    action_units,
    decode,
    malformed,
    matching,
    nothing,
    parse,
    parts_of,
    read_all,
    refuse_intensity,
    truth,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PARTS = {"train": ("Train", "Training"), "val": ("Validation",)}
EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
_ANNOTATIONS = r"(?:^|/)(?P<task>EXPR|AU|VA)_[^/]*/(?P<part>Train|Training|Validation)_Set/(?P<video>[^/]+)\.txt$"
_NOT_ANNOTATED = -5  # of valence and arousal


class AffWild2(PublishedSet):
    """Aff-Wild2 as a source; see :func:`read_aff_wild2`."""

    kind: Literal["aff_wild2"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_aff_wild2(tree, self)


def read_aff_wild2(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read D. Kollias, S. Zafeiriou, "Expression, Affect, Action Unit Recognition: Aff-Wild2, Multi-Task Learning and
    ArcFace", BMVC 2019, as the ABAW competitions distribute it
    (https://ibug.doc.ic.ac.uk/resources/cvpr-2022-3rd-abaw).

    Layout (the readme of the annotations and of the cropped and aligned images)::

        EXPR_Classification_Challenge/Train_Set/VIDEO.txt    Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other
                                                             4          (one line per frame; -1: not annotated)
        AU_Detection_Challenge/Train_Set/VIDEO.txt           AU1,AU2,AU4,AU6,...
                                                             0,0,1,-1,...
        VA_Estimation_Challenge/Validation_Set/VIDEO.txt     valence,arousal
                                                             0.602,0.389          (-5: not annotated)
        cropped_aligned/VIDEO/00001.jpg                      the face in frame 1

    The folders of other years' competitions (EXPR_Recognition_Challenge, EXPR_Set, ...) are read as well; what a code
    stands for is in each file's first line. A frame in which no face was found has no image: such frames are left
    out.

    Parts: train, val. A video may be in different parts of different tasks: with a part, only that part's annotations
    are read. The test set's annotations are not published.

    Columns: ``video``; ``expression`` (8), ``AU1``, ``AU2``, ... (true or false), ``valence``, ``arousal`` (-1 to 1):
    all that a frame has of the three, and null where it has not.
    """
    refuse_intensity(source, "the set says of an action unit only whether it occurs")
    files = matching(tree, _ANNOTATIONS)
    folders = [folder for part in parts_of(source, PARTS) for folder in PARTS[part]]
    files = files.filter(pc.is_in(files["part"], pa.array(folders)))
    if not len(files):
        raise nothing(tree, source, f"annotation of the part {source.part or 'train or val'} ('..._Set/VIDEO.txt')")
    crops = matching(tree, r"(?:^|/)cropped_aligned[^/]*/(?:.*/)?(?P<frame>[^/]+/\d+\.jpg)$")
    if not len(crops):
        raise nothing(tree, source, "'cropped_aligned/VIDEO/00001.jpg'")
    videos: dict[str, dict[str, np.ndarray]] = {}
    for row, raw in zip(files.to_pylist(), read_all(tree, files["name"]), strict=True):
        fields = _READERS[row["task"]](tree, row["name"], raw)
        annotations = videos.setdefault(row["video"], {})
        if annotations.keys() & fields.keys():
            raise UserError(
                f"{tree}: {row['name']!r}: found the video annotated twice; expected one competition's files"
            )
        annotations.update(fields)
    units = action_units(field for fields in videos.values() for field in fields)
    lengths = {video: max(len(values) for values in fields.values()) for video, fields in videos.items()}

    def concatenated(field: str, missing: float, kind: type) -> np.ndarray:
        """Return a field of all frames of all videos, one video after the other."""
        values: np.ndarray = np.full(sum(lengths.values()), missing, kind)
        start = 0
        for video, fields in videos.items():
            if field in fields:
                values[start : start + len(fields[field])] = fields[field]
            start += lengths[video]
        return values

    frame_videos = pa.array(list(videos)).take(pa.array(np.repeat(np.arange(len(videos)), list(lengths.values()))))
    numbers = pa.array(np.concatenate([np.arange(1, length + 1) for length in lengths.values()]))
    paths = pc.binary_join_element_wise(frame_videos, "/", pc.utf8_lpad(numbers.cast(pa.string()), 5, "0"), ".jpg", "")
    expressions = concatenated("expression", -1, np.int8)
    table = pa.table(
        {
            "picture": crops["name"].take(pc.index_in(paths, crops["frame"])),
            "video": frame_videos,
            "expression": pa.array(EXPRESSIONS).take(pa.array(expressions, mask=expressions < 0)),
            **{unit: truth(concatenated(unit, -1, np.int8)) for unit in units},
            "valence": pa.array(concatenated("valence", np.nan, np.float64), from_pandas=True),  # NaN becomes null
            "arousal": pa.array(concatenated("arousal", np.nan, np.float64), from_pandas=True),
        }
    )
    return table.filter(pc.is_valid(table["picture"]))


def _expression(tree: Tree, name: str, raw: bytes) -> dict[str, np.ndarray]:
    classes = [field.lower() for field in _header(raw)]
    if not classes or (unknown := set(classes) - set(EXPRESSIONS)):
        raise malformed(
            tree, name, 1, ",".join(sorted(unknown)) if classes else "", f"names of {', '.join(EXPRESSIONS)}"
        )
    rows = parse(tree, name, raw, ["code"], {"code": pa.int32()}, skip=1, right="the code of an expression")
    meaning = {-1: -1, **{code: EXPRESSIONS.index(expression) for code, expression in enumerate(classes)}}
    return {"expression": np.asarray(decode(tree, name, rows["code"], meaning, first_line=2))}


def _action_units(tree: Tree, name: str, raw: bytes) -> dict[str, np.ndarray]:
    units = _header(raw)
    if not units or set(action_units(units)) != set(units):
        raise malformed(tree, name, 1, ",".join(units), "'AU1,AU2,...'")
    types = dict.fromkeys(units, pa.int32())
    rows = parse(tree, name, raw, units, types, skip=1, right=f"{len(units)} times 0, 1 or -1")
    states = {0: 0, 1: 1, -1: -1}
    return {unit: np.asarray(decode(tree, name, rows[unit], states, first_line=2)) for unit in units}


def _valence_arousal(tree: Tree, name: str, raw: bytes) -> dict[str, np.ndarray]:
    fields = ["valence", "arousal"]
    rows = parse(tree, name, raw, fields, dict.fromkeys(fields, pa.float64()), skip=1, right="'valence,arousal'")
    values = {field: np.array(rows[field]) for field in fields}
    return {field: np.where(value == _NOT_ANNOTATED, np.nan, value) for field, value in values.items()}


def _header(raw: bytes) -> list[str]:
    first = raw.partition(b"\n")[0].decode("utf-8-sig", "replace")
    return [field.strip() for field in first.split(",") if field.strip()]


_READERS = {"EXPR": _expression, "AU": _action_units, "VA": _valence_arousal}
