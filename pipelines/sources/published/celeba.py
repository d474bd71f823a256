"""CelebA: faces of celebrities with forty attributes each."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.sources.published._common import decode, find, locate, malformed, parse, parts_of, refuse_intensity
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PARTS = ("train", "val", "test")


class CelebA(PublishedSet):
    """CelebA as a source; see :func:`read_celeba`."""

    kind: Literal["celeba"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_celeba(tree, self)


def read_celeba(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read Z. Liu, P. Luo, X. Wang, X. Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015
    (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html).

    Layout (the set's README; the folders Anno, Eval and Img may be there or not)::

        Anno/list_attr_celeba.txt          a line with the number of images, a line with the attributes' names, then
                                           000001.jpg -1  1  1 ...      (1 holds, -1 does not; there is no "unknown")
        Eval/list_eval_partition.txt       000001.jpg 0                 (0 train, 1 val, 2 test)
        Anno/identity_CelebA.txt           000001.jpg 2880              (may be left out)
        Img/img_align_celeba/000001.jpg    the aligned and cropped images

    Parts: train, val, test.

    Columns: the attributes (``Smiling``, ``Male``, ...), true or false; ``identity`` where its file is there.
    """
    refuse_intensity(source)
    selected = parts_of(source, PARTS)
    name = locate(tree, source, "list_attr_celeba.txt")
    raw = tree.read(name)
    head = raw[:10_000].decode("utf-8", "replace").splitlines()[:2]
    if len(head) < 2 or not head[0].strip().isdigit():
        raise malformed(tree, name, 1, head[0] if head else "", "the number of images")
    attributes = head[1].split()
    types = {"picture": pa.string(), **dict.fromkeys(attributes, pa.int8())}
    right = f"an image and {len(attributes)} times -1 or 1"
    rows = parse(tree, name, raw, list(types), types, delimiter=" ", skip=2, right=right)
    if len(rows) != int(head[0]):
        raise UserError(f"{tree}: {name!r}: found {len(rows)} rows; expected {head[0].strip()}, as its line 1 says")
    columns = {"picture": rows["picture"]}
    for attribute in attributes:
        columns[attribute] = decode(tree, name, rows[attribute], {-1: False, 1: True}, first_line=3)
    if (identities := find(tree, source, "identity_CelebA.txt")) is not None:
        pairs = _pairs(tree, identities, pa.string())
        columns["identity"] = pairs["value"].take(pc.index_in(rows["picture"], pairs["picture"]))
    table = pa.table(columns)
    if source.part is not None:
        partition = locate(tree, source, "list_eval_partition.txt")
        pairs = _pairs(tree, partition, pa.int8())
        parts = decode(tree, partition, pairs["value"], dict(enumerate(PARTS)))
        table = table.filter(pc.is_in(parts.take(pc.index_in(rows["picture"], pairs["picture"])), pa.array(selected)))
    if not len(rows):
        return table
    first = rows["picture"][0].as_py()
    folder = locate(tree, source, f"img_align_celeba/{first}").removesuffix(first)
    return table.set_column(0, "picture", pc.binary_join_element_wise(folder, table["picture"], ""))


def _pairs(tree: Tree, name: str, kind: pa.DataType) -> pa.Table:
    types = {"picture": pa.string(), "value": kind}
    return parse(tree, name, tree.read(name), list(types), types, delimiter=" ", right="'image value'")
