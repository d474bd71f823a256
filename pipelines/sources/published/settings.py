"""The settings common to all published datasets, and the listing made from a dataset's table of images."""

from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from pipelines.sources.listing import Listing, of_files
from pipelines.sources.places import Place
from pipelines.sources.source import SourceSettings
from pipelines.sources.tree import Tree


class PublishedSet(SourceSettings):
    """A dataset in the layout that its authors publish; what it has columns for: pipelines/sources/published.

    Attributes:
        part: one of the set's own parts (train, val, test, ...); all of them where it is not given.
        intensity: an action unit of at least this intensity holds; each set has a default of its own.
    """

    inputs: ClassVar[frozenset[str]] = frozenset({"picture"})

    part: str | None = None
    """One of its own parts; all by default."""
    intensity: Annotated[float, Field(ge=0, le=5)] | None = None
    """From which an action unit holds."""

    def read_table(self, tree: Tree) -> pa.Table:
        """Return a row an image: ``picture``, its name in the tree, and a column a field, null where not annotated.

        Raises:
            UserError: the set does not lie there in its layout, or has no such part.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no table")

    def list_rows(self, place: Place) -> Listing:
        """List the set's images."""
        tree = place.tree()
        table = self.read_table(tree)
        pictures = table["picture"].combine_chunks().cast(pa.string())
        return of_files(place, pictures, tree.find(pictures), table.drop_columns(["picture"]))
