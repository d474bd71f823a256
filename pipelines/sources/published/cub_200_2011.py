"""CUB-200-2011: birds with a species and 312 attributes that people saw or did not see."""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from mtlcore.suggestions import did_you_mean
from pipelines.sources.published._common import (
    decode,
    find,
    locate,
    malformed,
    parse,
    parts_of,
    refuse_intensity,
    truth,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PARTS = ("train", "test")
_NOT_VISIBLE = 1
_RIGHT = {
    "picture": "an id of images.txt",
    "attribute": "an id of attributes.txt",
    "present": "0 or 1",
    "certainty": "1 (not visible), 2, 3 or 4",
}


class CUB200(PublishedSet):
    """CUB-200-2011 as a source; see :func:`read_cub_200_2011`."""

    kind: Literal["cub_200_2011"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_cub_200_2011(tree, self)


def read_cub_200_2011(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read C. Wah, S. Branson, P. Welinder, P. Perona, S. Belongie, "The Caltech-UCSD Birds-200-2011 Dataset",
    California Institute of Technology, CNS-TR-2011-001, 2011 (https://data.caltech.edu/records/65de6-vp158).

    Layout (the set's README)::

        CUB_200_2011/images.txt                               1 001.Black_footed_Albatross/Black_Footed_..._0046.jpg
        CUB_200_2011/classes.txt                              1 001.Black_footed_Albatross
        CUB_200_2011/image_class_labels.txt                   1 1
        CUB_200_2011/train_test_split.txt                     1 0          (1 train, 0 test)
        attributes.txt, or CUB_200_2011/attributes/...        1 has_bill_shape::curved_(up_or_down)
        CUB_200_2011/attributes/image_attribute_labels.txt    1 1 0 3 27.7080
                                                              (image, attribute, is present, certainty, seconds)
        CUB_200_2011/images/001.Black_footed_Albatross/...    the images
        ranks.csv                                             species,genus,family,...    (the user's, may be missing)

    Some lines of image_attribute_labels.txt have a 0 too many before the seconds (``2275 10 0 1 0  1.509``); they are
    read by their first four fields, as all are.

    Parts: train, test.

    Columns: ``species`` (200, without the number: ``Black_footed_Albatross``); the columns of ranks.csv, if it is
    there, null for a species that it leaves out; 312 attributes under the names of attributes.txt, true or false, null
    where the certainty is 1 (not visible) or there is no line.
    """
    refuse_intensity(source)
    selected = parts_of(source, PARTS)
    listed = locate(tree, source, "CUB_200_2011/images.txt", "images.txt")
    root = listed.removesuffix("images.txt")
    pictures = _pairs(tree, listed, pa.string())
    classes = _pairs(tree, locate(tree, source, f"{root}classes.txt"), pa.string())
    names = pc.replace_substring_regex(classes["value"], r"^\d+\.", "")
    species = dict(zip(classes["id"].to_pylist(), names.to_pylist(), strict=True))
    columns = {"picture": pc.binary_join_element_wise(f"{root}images/", pictures["value"], "")}
    columns["species"] = _decoded(tree, source, f"{root}image_class_labels.txt", pictures["id"], species)
    columns |= _ranks(tree, source, columns["species"], list(species.values()))
    columns |= _attributes(tree, source, root, pictures["id"])
    table = pa.table(columns)
    if source.part is None:
        return table
    parts = _decoded(tree, source, f"{root}train_test_split.txt", pictures["id"], {1: "train", 0: "test"})
    return table.filter(pc.is_in(parts, pa.array(selected)))


def _pairs(tree: Tree, name: str, kind: pa.DataType) -> pa.Table:
    types = {"id": pa.int32(), "value": kind}
    return parse(tree, name, tree.read(name), list(types), types, delimiter=" ", right="'id value'")


def _decoded(
    tree: Tree, source: PublishedSet, name: str, ids: pa.ChunkedArray, meaning: dict[int, str]
) -> pa.ChunkedArray:
    """Return what a file of lines ``id code`` says of some images; null where it says nothing."""
    rows = _pairs(tree, locate(tree, source, name), pa.int32())
    return decode(tree, name, rows["value"], meaning).take(pc.index_in(ids, rows["id"]))


def _ranks(tree: Tree, source: PublishedSet, labels: pa.ChunkedArray, species: list[str]) -> dict[str, pa.ChunkedArray]:
    name = find(tree, source, "ranks.csv")
    if name is None:
        return {}
    raw = tree.read(name)
    header = [column.strip() for column in raw.partition(b"\n")[0].decode("utf-8-sig", "replace").split(",")]
    if "species" not in header:
        raise malformed(tree, name, 1, ",".join(header), "a header with the column species")
    types = dict.fromkeys(header, pa.string())
    rows = parse(tree, name, raw, header, types, skip=1, right=f"{len(header)} fields")
    keys = pc.replace_substring_regex(rows["species"], r"^\d+\.", "")
    for i, key in enumerate(keys.to_pylist()):
        if key not in species:
            raise malformed(tree, name, i + 2, key, f"a species of classes.txt{did_you_mean(key, species)};")
    indices = pc.index_in(labels, keys)
    values = {rank: rows[rank].take(indices) for rank in header if rank != "species"}
    return {
        rank: pc.if_else(pc.equal(value, ""), pa.scalar(None, pa.string()), value) for rank, value in values.items()
    }


def _attributes(tree: Tree, source: PublishedSet, root: str, ids: pa.ChunkedArray) -> dict[str, pa.Array]:
    names = _pairs(tree, locate(tree, source, "attributes/attributes.txt", "attributes.txt"), pa.string())
    name = locate(tree, source, f"{root}attributes/image_attribute_labels.txt")
    fields = ["picture", "attribute", "present", "certainty", "seconds"]
    types = dict.fromkeys(fields[:4], pa.int32())
    mended: list[list[int]] = []  # a line's number and its fields

    def mend(line: pacsv.InvalidRow) -> bool:
        parts = line.text.split()
        if len(parts) != 6 or parts[4] != "0" or not all(part.isdigit() for part in parts[:4]):
            return False
        mended.append([line.number, *map(int, parts[:4])])
        return True

    right = "'image attribute present certainty seconds'"
    rows = parse(tree, name, tree.read(name), fields, types, delimiter=" ", mend=mend, right=right)
    mended_rows = np.array(mended, np.int32).reshape(-1, 5)
    numbers = np.delete(np.arange(1, len(rows) + len(mended_rows) + 1), mended_rows[:, 0] - 1)
    numbers = np.concatenate([numbers, mended_rows[:, 0]])
    values = [np.concatenate([rows[field], mended_rows[:, i + 1]]) for i, field in enumerate(types)]
    picture, attribute, present, certainty = values
    row = np.asarray(pc.index_in(pa.array(picture), ids).fill_null(-1))
    column = np.asarray(pc.index_in(pa.array(attribute), names["id"]).fill_null(-1))
    for field, value, known in (
        ("picture", picture, row >= 0),
        ("attribute", attribute, column >= 0),
        ("present", present, np.isin(present, (0, 1))),
        ("certainty", certainty, np.isin(certainty, (1, 2, 3, 4))),
    ):
        if not known.all():
            i = int(np.argmin(known))
            raise malformed(tree, name, int(numbers[i]), f"{field} {value[i]}", _RIGHT[field])
    states = np.full((len(names), len(ids)), -1, np.int8)
    states[column, row] = np.where(certainty == _NOT_VISIBLE, -1, present)
    return {attribute: truth(states[i]) for i, attribute in enumerate(names["value"].to_pylist())}
