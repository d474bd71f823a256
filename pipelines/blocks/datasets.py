"""The ingested datasets of a case: each one's block folder and manifest."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from pipelines.base.progress import note
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.blocks.manifest import Manifest


@dataclass(frozen=True)
class DataSets:
    """The ingested datasets of a case.

    Attributes:
        folders: where each dataset's blocks lie, a path or URL by the dataset's name.
        manifests: what stands in them, by the same names in the same order.
        read_from: the folders of the files that their rows name, just after an ingest; not written down.
    """

    folders: Mapping[str, str]
    manifests: Mapping[str, Manifest]
    read_from: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        assert list(self.folders) == list(self.manifests)

    def of_split(self, *splits: str) -> "DataSets":
        """Return the datasets of some splits."""
        manifests = {name: manifest for name, manifest in self.manifests.items() if manifest.split in splits}
        return DataSets({name: self.folders[name] for name in manifests}, manifests)


def at_root(data_sets: DataSets, root: str) -> DataSets:
    """Return datasets whose block folders lie below a root, by their own names: a storage may have been moved since."""
    folders = {name: join(root, folder.rstrip("/").rpartition("/")[2]) for name, folder in data_sets.folders.items()}
    return replace(data_sets, folders=folders)


class _Record(BaseModel):
    data_sets: dict[str, tuple[str, Manifest]]


def write_data_sets(file: str, data_sets: DataSets) -> None:
    """Write them down, to a path or URL."""
    pairs = {name: (data_sets.folders[name], manifest) for name, manifest in data_sets.manifests.items()}
    write_whole(file, _Record(data_sets=pairs).model_dump_json(indent=1))


def read_data_sets(file: str) -> DataSets | None:
    """Read what :func:`write_data_sets` wrote, or None where there is nothing, or what is there is damaged."""
    try:
        pairs = _Record.model_validate_json(read_bytes(file)).data_sets
    except FileNotFoundError:
        return None
    except ValueError:
        note(f"{file}: cut short or damaged; `kindred ingest` makes it again")
        return None
    # Where they lay when they were written down; see at_root.
    folders = {name: folder for name, (folder, _) in pairs.items()}
    return DataSets(folders, {name: manifest for name, (_, manifest) in pairs.items()})
