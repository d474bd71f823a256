"""Sources that lie nowhere: rows that are made from a seed whenever they are read."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pipelines.base.fingerprint import fingerprint
from pipelines.sources.listing import ROWS, Listing, row_numbers, with_vectors
from pipelines.sources.places import Place
from pipelines.sources.settings import Paths
from pipelines.sources.source import SourceSettings


class MadeSource(SourceSettings):
    """A source that is made from its settings, on any machine; a subclass says what its rows are.

    Attributes:
        made_version: to be raised when the same settings make other rows.
    """

    made: ClassVar[bool] = True
    made_version: ClassVar[int] = 1

    path: Paths = ("made",)
    """Not used: what is made lies nowhere."""

    def find_places(self, root: str) -> list[Place]:
        """Return the one place that there is."""
        return [Place("made", "", self.kind, self.kind)]

    def columns(self) -> pa.Table:
        """Return the columns, a row an input."""
        raise NotImplementedError(f"{type(self).__name__} has no columns")

    def vectors(self) -> np.ndarray | None:
        """Return the inputs, float32 (n, size), where they are vectors; by default they are pictures."""
        return None

    def picture(self, row: int) -> np.ndarray:
        """Return the picture of a row, uint8 (height, width, 3)."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures")

    def list_rows(self, place: Place) -> Listing:
        """List all rows."""
        fields, vectors = self.columns(), self.vectors()
        n = fields.num_rows
        settings = self.model_dump(mode="json") | {"version": self.made_version}
        same = {"source": self.kind, "file": "made", "codec": "file", "offset": 0, "size": 0}
        same |= {"stamp": fingerprint(settings), "refused": None}
        rows = {name: pa.repeat(pa.scalar(value, ROWS.field(name).type), n) for name, value in same.items()}
        rows |= {"id": row_numbers(self.kind, n), "row": pa.array(range(n), pa.int64())}
        rows |= {"vector": pa.nulls(n, ROWS.field("vector").type)}
        listing = Listing(pa.table({name: rows[name] for name in ROWS.names}, schema=ROWS), fields)
        if vectors is None:
            return listing
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        offsets = pa.array(np.arange(n + 1) * vectors.shape[1], pa.int32())
        return with_vectors(listing, pa.ListArray.from_arrays(offsets, flat))

    def read_rows(self, file: dict[str, Any], wanted: Sequence[int]) -> Iterator[bytes | np.ndarray | Exception]:
        """Make the pictures of some rows."""
        for row in wanted:
            yield self.picture(row)
