"""The manifest of a dataset's blocks: counts, label histograms and hashes; the last file that an ingest writes."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from pipelines.base.fingerprint import fingerprint
from pipelines.base.progress import note
from pipelines.base.storage import join, read_bytes


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True)


class BlockEntry(_Entry):
    """One block file: a digest of its bytes (XXH3, 128 bits), and the ids of its first and last row."""

    file: str
    rows: int
    digest: str
    first: str
    last: str


class LabelCounts(_Entry):
    """How a task's labels are distributed: rows annotated at all, and inputs by class or holding label.

    Attributes:
        known: of a multilabel or regression task, rows that are annotated for each label or number.
        mean: of a regression task, by number; those that are annotated nowhere are left out.
        spread: their standard deviation (over the number of rows).
        range: the least and the largest.
    """

    annotated: int
    histogram: dict[str, int]
    known: dict[str, int] = {}
    mean: dict[str, float] = {}
    spread: dict[str, float] = {}
    range: dict[str, tuple[float, float]] = {}


class SourceCounts(_Entry):
    """The rows of one place of a source. ``rows_in`` is always ``rows + quarantined``."""

    rows_in: int
    rows: int
    quarantined: int


class Manifest(_Entry):
    """A dataset's blocks. ``rows_in`` is always ``rows + quarantined``, and both are sums over ``sources``.

    Attributes:
        fingerprint: of the settings that the blocks are made with; it names their folder.
        settings: those settings, so that a change can be told in words.
        content_hash: over the blocks' digests; does not depend on how the work was spread, on the order of
            files, or on what was ingested before.
        reasons: how many rows went to quarantine, by reason.
        notes: what else is to be known of the source's files, lines and inputs, and of how many of them: files that
            are no images, names that were found in another spelling, inputs of which a part is left out.
        labels: of the rows in the blocks, less those that are excluded.
        excluded: rows, numbered over all blocks, that take no part in this case: inputs that leaked.
        vector_columns: of vectors from tables, the names of the columns that hold the numbers, in their order.
        leakage: how many rows' inputs stand in another dataset of a later split too, by dataset.
        near: how many rows' images look like one of another dataset of a later split, and are not the same, by dataset.
    """

    data_set: str
    split: str
    fingerprint: str
    settings: dict[str, Any]
    content_hash: str
    rows_in: int
    rows: int
    quarantined: int
    shape: tuple[int, ...]
    blocks: tuple[BlockEntry, ...]
    labels: dict[str, LabelCounts]
    sources: dict[str, SourceCounts]
    reasons: dict[str, int]
    excluded: tuple[int, ...] = ()
    leakage: dict[str, int] = {}
    near: dict[str, int] = {}
    notes: dict[str, int] = {}
    vector_columns: tuple[str, ...] = ()

    @property
    def rows_used(self) -> int:
        """How many rows take part in this case."""
        return self.rows - len(self.excluded)

    @property
    def used_hash(self) -> str:
        """Changes when the rows that take part do."""
        # Which rows leak depends on the other datasets: the same blocks may come to other training data.
        return fingerprint([self.content_hash, self.excluded]) if self.excluded else self.content_hash


MANIFEST, QUARANTINE = "manifest.json", "quarantine.parquet"


def read_manifest(folder: str) -> Manifest | None:
    """Return the manifest in a dataset's folder, or None where its ingest has not ended, or the file is damaged."""
    try:
        content = read_bytes(join(folder, MANIFEST))
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(content)
    except ValueError:
        note(f"{join(folder, MANIFEST)}: cut short or damaged; it is made again")
        return None
