"""RAF-DB: faces from the web with one of seven expressions, agreed on by about forty people each."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.published._common import decode, locate, malformed, parse, parts_of, refuse_intensity
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PARTS = ("train", "test")
EXPRESSIONS = {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"}
_LIST = "EmoLabel/list_patition_label.txt"  # the authors' spelling


class RafDB(PublishedSet):
    """RAF-DB as a source; see :func:`read_raf_db`."""

    kind: Literal["raf_db"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_raf_db(tree, self)


def read_raf_db(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read S. Li, W. Deng, J. Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression
    Recognition in the Wild", CVPR 2017 (http://www.whdeng.cn/RAF/model1.html), the set of single expressions.

    Layout, as the set's own readme has it::

        basic/EmoLabel/list_patition_label.txt         train_00001.jpg 5
        basic/Image/aligned/train_00001_aligned.jpg    the aligned faces, read where they are there
        basic/Image/original/train_00001.jpg           else the images as they were found

    Parts: train, test (how an image's name starts).

    Columns: ``expression``.
    """
    refuse_intensity(source)
    name = locate(tree, source, f"basic/{_LIST}", _LIST)
    types = {"picture": pa.string(), "code": pa.int32()}
    rows = parse(tree, name, tree.read(name), list(types), types, delimiter=" ", right="'image code'")
    rows = rows.append_column("expression", decode(tree, name, rows["code"], EXPRESSIONS))
    parts = pc.struct_field(pc.extract_regex(rows["picture"], r"^(?P<part>train|test)_.*\.jpg$"), "part")
    if parts.null_count:
        i = pc.index(pc.is_null(parts), True).as_py()
        raise malformed(tree, name, i + 1, rows["picture"][i], "a name that starts with train_ or test_")
    rows = rows.filter(pc.is_in(parts, pa.array(parts_of(source, PARTS))))
    folder = name.removesuffix(_LIST) + "Image/"
    names = tree.files["name"]
    if pc.any(pc.starts_with(names, f"{folder}aligned/")).as_py():
        stems = pc.replace_substring_regex(rows["picture"], r"\.jpg$", "_aligned.jpg")
        pictures = pc.binary_join_element_wise(f"{folder}aligned/", stems, "")
    else:
        pictures = pc.binary_join_element_wise(f"{folder}original/", rows["picture"], "")
    return pa.table({"picture": pictures, "expression": rows["expression"]})
