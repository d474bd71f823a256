"""What stands in a data set's blocks: counts, label histograms, hashes; the last file that an ingest writes."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class BlockEntry(BaseModel):
    """One block file."""

    model_config = ConfigDict(frozen=True)

    file: str
    rows: int
    sha256: str


class LabelCounts(BaseModel):
    """How a task's labels are distributed: rows annotated at all, and inputs by class or holding label."""

    model_config = ConfigDict(frozen=True)

    annotated: int
    histogram: dict[str, int]


class Manifest(BaseModel):
    """A data set's blocks. ``rows_in`` is always ``rows + quarantined``.

    Attributes:
        fingerprint: of the settings and the source's rows; blocks are made anew when it changes.
        content_hash: SHA-256 over the blocks' hashes; does not depend on how the work was spread.
    """

    model_config = ConfigDict(frozen=True)

    data_set: str
    split: str
    fingerprint: str
    content_hash: str
    rows_in: int
    rows: int
    quarantined: int
    shape: tuple[int, int, int]
    blocks: tuple[BlockEntry, ...]
    labels: dict[str, LabelCounts]

    def block_files(self, folder: Path) -> list[Path]:
        """Return the block files' paths."""
        return [folder / block.file for block in self.blocks]


MANIFEST = "manifest.json"


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest in a data set's folder, or None where its ingest has not ended."""
    file = folder / MANIFEST
    return Manifest.model_validate_json(file.read_text()) if file.is_file() else None
