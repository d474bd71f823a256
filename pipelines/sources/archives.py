"""The archive formats that are read in place, recognised by file name."""

import bz2
import gzip
import lzma
from typing import Any

from pipelines.base.storage import is_remote, kind_of

ARCHIVES = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.bz2": "tar.bz2",
    ".tbz2": "tar.bz2",
    ".tar.xz": "tar.xz",
    ".txz": "tar.xz",
}
DECOMPRESSED: dict[str, Any] = {"tar.gz": gzip.open, "tar.bz2": bz2.open, "tar.xz": lzma.open}


def archive_kind(name: str) -> str | None:
    """Return the kind of archive that a file's name, path or URL tells, or None."""
    lower = (name.partition("?")[0] if is_remote(name) else name).lower()
    return next((kind for ending, kind in ARCHIVES.items() if lower.endswith(ending)), None)


def is_folder(url: str) -> bool:
    """Say whether a place that is there is a folder; in object storage its name tells, without a request."""
    return archive_kind(url) is None if is_remote(url) else kind_of(url) == "folder"
