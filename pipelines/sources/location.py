"""Where a source lies: on disk, or inside a zip archive that is read in place."""

import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Location:
    """A path on disk (``archive`` is None), or a path inside a zip archive."""

    archive: str | None
    path: str

    def __str__(self) -> str:
        return f"{self.archive}!{self.path}" if self.archive else self.path

    def read(self, name: str) -> bytes:
        """Return the bytes of a file below this location.

        Raises:
            OSError, KeyError, zipfile.BadZipFile: it is not there, or the archive is broken at that place.
        """
        if self.archive is None:
            return (Path(self.path) / name).read_bytes()
        return open_zip(self.archive).read(f"{self.path}/{name}" if self.path else name)


@lru_cache(maxsize=4)
def open_zip(archive: str) -> zipfile.ZipFile:
    """Open a zip archive once a process: reading the list of members is what costs."""
    return zipfile.ZipFile(archive)


def locate(root: str, path: str) -> Location | None:
    """Find ``path`` below ``root``, a folder or a zip archive.

    Archives usually hold one folder of their own name; it may be left out of ``path``, whether the archive is
    read in place or was unpacked.

    Returns:
        the location, or None where there is nothing.
    """
    whole = Path(root) / path
    archive = next((p for p in [whole, *whole.parents] if p.is_file() and zipfile.is_zipfile(p)), None)
    if archive is not None:
        inner = whole.relative_to(archive).as_posix()
        names = open_zip(str(archive)).namelist()
        tops = {name.split("/", 1)[0] for name in names}
        candidates = [inner, *(f"{tops.pop()}/{inner}" for _ in range(len(tops) == 1))]
        for candidate in candidates:
            if candidate == "." or any(name == candidate or name.startswith(f"{candidate}/") for name in names):
                return Location(str(archive), "" if candidate == "." else candidate)
        return None
    if whole.exists():
        return Location(None, str(whole))
    inside = [p for p in Path(root).iterdir() if p.is_dir()] if Path(root).is_dir() else []
    if len(inside) == 1 and (inside[0] / path).exists():
        return Location(None, str(inside[0] / path))
    return None
