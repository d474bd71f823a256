"""Grocery Store: products in their shelves, with a class, a coarse class, and the family that a path tells."""

import pyarrow as pa

from pipelines.case import PublishedSet
from pipelines.errors import UserError
from pipelines.sources.tree import Tree

PARTS = ("train", "val", "test")


def read_grocery_store(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read M. Klasson, C. Zhang, H. Kjellström, "A Hierarchical Grocery Store Image Dataset with Visual and Semantic
    Labels", WACV 2019 (https://github.com/marcusklasson/GroceryStoreDataset).

    Layout::

        classes.csv                   Class Name (str), Class ID (int), Coarse Class Name (str), Coarse Class ID (int), ...
        train.txt, val.txt, test.txt  train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg, 0, 0
        train/..., val/..., test/...  the pictures

    Columns: ``class`` (81), ``coarse_class`` (43), ``family`` (the first folder: Fruit, Packages, Vegetables).
    """
    raise UserError(f"{source.kind}: {tree}: not there yet")
