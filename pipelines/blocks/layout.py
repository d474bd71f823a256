"""Block folders: the paths of a dataset's blocks below the storage path."""

from pipelines.base.storage import join
from pipelines.case.case import Case


def blocks_root(case: Case) -> str:
    """Return where all blocks lie, a path or a URL."""
    return case.storage.blocks or join(case.storage.path, "blocks")


def blocks_folder(case: Case, data_set: str, fingerprint: str) -> str:
    """Return the folder of a dataset's blocks made with the settings of this fingerprint."""
    return join(blocks_root(case), f"{data_set}-{fingerprint}")
