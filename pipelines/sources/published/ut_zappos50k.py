"""UT Zappos50K: shoes of a catalogue, with their category, sub-category, and what the shop says of them."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.published._common import (
    locate,
    malformed,
    matching,
    nothing,
    parse,
    refuse_intensity,
    refuse_part,
)
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

FIELDS = {
    "Category": "category",
    "SubCategory": "sub_category",
    "HeelHeight": "heel_height",
    "Insole": "insole",
    "Closure": "closure",
    "Gender": "gender",
    "Material": "material",
    "ToeStyle": "toe_style",
}


class UTZappos50K(PublishedSet):
    """UT Zappos50K as a source; see :func:`read_ut_zappos50k`."""

    kind: Literal["ut_zappos50k"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_ut_zappos50k(tree, self)


def read_ut_zappos50k(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read A. Yu, K. Grauman, "Fine-Grained Visual Comparisons with Local Learning", CVPR 2014
    (https://vision.cs.utexas.edu/projects/finegrained/utzap50k).

    Layout (the set's readme.txt; the two archives unpacked into one folder)::

        ut-zap50k-data/meta-data.csv       CID,Category,SubCategory,HeelHeight,Insole,Closure,Gender,Material,ToeStyle
                                           100627-72,Shoes,Oxfords,,,Lace up,Men,Rubber,Capped Toe;Round Toe
        ut-zap50k-images-square/Shoes/Oxfords/Bostonian/100627.72.jpg     (or ut-zap50k-images/...)

    An image is found by its name, which is the CID with a dot for the dash; image-path.mat is not needed. Where both
    folders of images are there, ut-zap50k-images-square is read. A shoe without an image keeps its row, under the
    name that the image would have.

    Parts: none (the set's splits are of pairs of images).

    Columns: ``category``, ``sub_category``, and with several values joined by ``|``: ``heel_height``, ``insole``,
    ``closure``, ``gender``, ``material``, ``toe_style``; null where the shop says nothing.
    """
    refuse_intensity(source)
    refuse_part(source)
    name = locate(tree, source, "meta-data.csv")
    raw = tree.read(name)
    header = raw.partition(b"\n")[0].decode("utf-8-sig", "replace").strip().split(",")
    header = [column.strip().strip('"') for column in header]
    if missing := [column for column in ("CID", *FIELDS) if column not in header]:
        raise malformed(tree, name, 1, ",".join(header), f"a header with {', '.join(missing)}")
    types = dict.fromkeys(("CID", *FIELDS), pa.string())
    rows = parse(tree, name, raw, header, types, skip=1, right=f"{len(header)} fields")
    pictures = matching(tree, r"(?P<folder>(?:^|/)ut-zap50k-images(?:-square)?/).*/(?P<stem>[^/]+)\.jpg$")
    square = pc.ends_with(pictures["folder"], "-square/")
    if pc.any(square).as_py():
        pictures = pictures.filter(square)
    if not len(pictures):
        raise nothing(tree, source, "'ut-zap50k-images-square/CATEGORY/SUB-CATEGORY/BRAND/*.jpg'")
    stems = pc.replace_substring(rows["CID"], "-", ".")
    indices = pc.index_in(stems, pictures["stem"])
    columns = {"picture": pc.coalesce(pictures["name"].take(indices), pc.binary_join_element_wise(stems, "jpg", "."))}
    for theirs, ours in FIELDS.items():
        values = pc.replace_substring(pc.utf8_trim_whitespace(rows[theirs]), ";", "|")
        columns[ours] = pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)
    return pa.table(columns)
