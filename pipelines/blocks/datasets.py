"""What a case's ingest came to: the folder of every dataset's blocks, and its manifest."""

from pydantic import BaseModel

from pipelines.base.storage import read_bytes, write_whole
from pipelines.blocks.manifest import Manifest

DataSets = dict[str, tuple[str, Manifest]]


class _Record(BaseModel):
    data_sets: DataSets


def write_data_sets(file: str, data_sets: DataSets) -> None:
    """Write them down, to a path or URL."""
    write_whole(file, _Record(data_sets=data_sets).model_dump_json(indent=1))


def read_data_sets(file: str) -> DataSets | None:
    """Read what :func:`write_data_sets` wrote, or None where there is nothing."""
    try:
        return _Record.model_validate_json(read_bytes(file)).data_sets
    except FileNotFoundError:
        return None
