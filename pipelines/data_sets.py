"""What a case's ingest came to: the folder of every data set's blocks, and its manifest."""

from pydantic import BaseModel

from pipelines.case import Case
from pipelines.errors import UserError
from pipelines.layout import DATA_SETS, blocks_root, experiment_folder
from pipelines.manifest import Manifest
from pipelines.storage import join, read_bytes, write_whole

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


def begun_data_sets(case: Case) -> DataSets:
    """Return the data sets that an experiment was begun with, wherever its storage lies now.

    Raises:
        UserError: it has not come so far.
    """
    file = join(experiment_folder(case), DATA_SETS)
    found = read_data_sets(file)
    if found is None:
        raise UserError(f"RUN: found no {file}: nothing has been trained; `kindred run` begins")
    root = blocks_root(case)
    return {name: (join(root, folder.rstrip("/").rpartition("/")[2]), of) for name, (folder, of) in found.items()}
