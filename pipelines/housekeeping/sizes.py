"""How large something in a storage is, and when it was written last."""

import os
from dataclasses import dataclass

from pipelines.base.storage import is_remote, kind_of, list_below, stat


@dataclass(frozen=True)
class Extent:
    """Files, bytes, and the newest time of change in seconds since the epoch; None in object storage."""

    files: int
    size: int
    changed: float | None


def extent(url: str) -> Extent:
    """Measure a file, or all below a folder, hidden files included; links are not followed."""
    if is_remote(url):
        entries = list(list_below(url)) if kind_of(url) == "folder" else [stat(url)]
        return Extent(len(entries), sum(entry.size for entry in entries), None)
    if not os.path.isdir(url) or os.path.islink(url):
        status = os.lstat(url)
        return Extent(1, status.st_size, status.st_mtime)
    files, size, changed = 0, 0, os.lstat(url).st_mtime
    for folder, _, names in os.walk(url):
        for name in names:
            status = os.lstat(os.path.join(folder, name))
            files, size, changed = files + 1, size + status.st_size, max(changed, status.st_mtime)
    return Extent(files, size, changed)


def in_words(size: int) -> str:
    """Return bytes as a person would say them."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
