"""Readers of published datasets in the layouts that their authors document.

A reader takes the tree of the set's files and the source's settings, and returns a table with a row an image:
``image`` (string, the image's name in the tree) and a column a field, null where the set says "not annotated".
The sets are licensed and not shipped; where to get each is in its reader's docstring.
"""

from importlib import import_module

import pyarrow as pa

from pipelines.sources.published.settings import PublishedSet
from pipelines.sources.tree import Tree


def read_published(tree: Tree, source: PublishedSet) -> pa.Table:
    """Read a published set with its own reader: ``read_KIND`` of the module that is called as the kind is.

    Raises:
        UserError: the set does not lie there in its layout, or has no such part.
    """
    reader = import_module(f"{__name__}.{source.kind}")
    return getattr(reader, f"read_{source.kind}")(tree, source)
