"""The protocol of a source: its settings, and how its places are found, its rows listed, its inputs read."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from pipelines.base.section import Section
from pipelines.sources.listing import Listing
from pipelines.sources.places import Place, find_places
from pipelines.sources.settings import Paths


class SourceSettings(Section):
    """A source of a dataset: the base of every kind, whose fields are the keys of ``datasets.<name>.source``.

    A kind of one's own is a subclass with fields and :meth:`list_rows`, and, where several inputs lie in one file,
    :meth:`read_rows`. What it may use: :func:`pipelines.sources.listing.of_files` for inputs that are files,
    ``of_table`` for rows of one file, ``with_vectors`` for inputs that travel with their rows, ``place.tree()`` for
    the files of a folder or an archive, on disk or in object storage.

    An object of it is pickled to Ray's workers, which import its module: its fields are all that it may remember.

    Attributes:
        kind: the name that the case file gives.
        path: what to read, below data_root.
        of_files: whether ``path`` names files (tables), rather than folders and archives.
        inputs: what it can hold: ``picture``, ``vector``.
        labels_in_folders: whether an image's class is the folder that it lies in (``from: folder``), and nothing else.
        made: whether its rows are made from its settings, and nothing lies below data_root.
    """

    kind: str
    """The name of the kind."""
    path: Paths
    """Where it lies below data_root: a path, a list of them, a pattern with *; also inside an archive, or a URL."""

    of_files: ClassVar[bool] = False
    inputs: ClassVar[frozenset[str]] = frozenset({"picture", "vector"})
    labels_in_folders: ClassVar[bool] = False
    made: ClassVar[bool] = False

    def find_places(self, root: str) -> list[Place]:
        """Find the folders, archives or files to list, each of which may be listed by another worker.

        Args:
            root: the case's data_root.

        Raises:
            NothingThereError: a path names nothing.
            BrokenArchiveError: an archive on the way cannot be listed.
            UserError: a place lies in another one.
        """
        return find_places(root, self.path, files=self.of_files)

    def list_rows(self, place: Place) -> Listing:
        """List a place's rows and their columns, without reading inputs.

        Raises:
            UserError: the place cannot be read, or lacks a column.
        """
        raise NotImplementedError(f"{type(self).__name__} lists no rows")

    def read_rows(self, file: dict[str, Any], wanted: Sequence[int]) -> Iterator[bytes | np.ndarray | Exception]:
        """Yield the inputs of some rows of one file, in the order asked for; for one that cannot be read, why.

        Args:
            file: the file, as its tree lists it: ``file`` (its URL), ``codec`` (``file``: as it lies there), and
                :func:`pipelines.sources.fetch.fetch_one` returns its bytes wherever it lies.
            wanted: the rows' numbers, from 0.

        Yields:
            an encoded image; or its pixels, uint8 of shape (height, width) or (height, width, channels); or a vector.
        """
        raise NotImplementedError(f"{type(self).__name__} has no rows in a file")
