"""Grocery Store: products in their shelves, with a class, a coarse class, and the family that a path tells."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.sources.published._common import decode, locate, parse, parts_of, refuse_intensity
from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree

PARTS = ("train", "val", "test")
_CLASSES = ["class", "class_id", "coarse_class", "coarse_class_id", "iconic", "description"]


class GroceryStore(PublishedSet):
    """Grocery Store as a source; see :func:`read_grocery_store`."""

    kind: Literal["grocery_store"]

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image."""
        return read_grocery_store(tree, self)


def read_grocery_store(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read M. Klasson, C. Zhang, H. Kjellström, "A Hierarchical Grocery Store Image Dataset with Visual and Semantic
    Labels", WACV 2019 (https://github.com/marcusklasson/GroceryStoreDataset).

    Layout (the repository's folder ``dataset``)::

        classes.csv                   Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),...
        train.txt, val.txt, test.txt  train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg, 0, 0
        train/..., val/..., test/...  the images

    Parts: train, val, test.

    Columns: ``class`` (81), ``coarse_class`` (43), ``family`` (the first folder: Fruit, Packages, Vegetables).
    """
    refuse_intensity(source)
    name = locate(tree, source, "classes.csv")
    types = {"class": pa.string(), "class_id": pa.int32(), "coarse_class": pa.string(), "coarse_class_id": pa.int32()}
    classes = parse(tree, name, tree.read(name), _CLASSES, types, skip=1, right="a class, its id, and so on")
    fine = dict(zip(classes["class_id"].to_pylist(), classes["class"].to_pylist(), strict=True))
    coarse = dict(zip(classes["coarse_class_id"].to_pylist(), classes["coarse_class"].to_pylist(), strict=True))
    tables = []
    for part in parts_of(source, PARTS):
        listed = locate(tree, source, f"{part}.txt")
        types = {"picture": pa.string(), "class": pa.int32(), "coarse": pa.int32()}
        rows = parse(tree, listed, tree.read(listed), list(types), types, right="'picture, class id, coarse class id'")
        folder = listed.removesuffix(f"{part}.txt")
        tables.append(
            pa.table(
                {
                    "picture": pc.binary_join_element_wise(folder, rows["picture"], ""),
                    "class": decode(tree, listed, rows["class"], fine),
                    "coarse_class": decode(tree, listed, rows["coarse"], coarse),
                    "family": pc.struct_field(
                        pc.extract_regex(rows["picture"], r"^[^/]+/(?P<family>[^/]+)/"), "family"
                    ),
                }
            )
        )
    return pa.concat_tables(tables)
