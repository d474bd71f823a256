"""Where the blocks of a dataset lie below the storage path."""

from pipelines.base.storage import join
from pipelines.case.case import Case


def blocks_root(case: Case) -> str:
    """Return where all blocks lie, a path or a URL."""
    return case.storage.blocks or join(case.storage.path, "blocks")


def blocks_folder(case: Case, data_set: str, of: str) -> str:
    """Return the folder of a dataset's blocks made with the settings of fingerprint ``of``."""
    return join(blocks_root(case), f"{data_set}-{of}")
