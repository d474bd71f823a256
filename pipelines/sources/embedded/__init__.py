"""Embedded datasets, written out as sources so that a case runs without a download."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.base.disk import naming
from pipelines.base.storage import is_remote, join, kind_of, write_whole

_FILES_AT_ONCE = 16


def write_embedded(name: str | None, root: str | None) -> None:
    """Write embedded sources below a path or URL; do nothing for no name, or where they stand already."""
    if name == "digits":
        from pipelines.sources.embedded.digits import write_digits

        _write(str(root), write_digits)
    if name == "seasons":
        from pipelines.sources.embedded.seasons import write_seasons

        _write(str(root), write_seasons)


def _write(root: str, write: Callable[[Path], None]) -> None:
    """Write sources below a path or URL; in object storage, what is listed last is there when all is."""
    if not is_remote(root):
        with naming(root):
            write(Path(root))
        return
    with tempfile.TemporaryDirectory() as scratch:
        local = Path(scratch) / "sources"
        write(local)
        files = sorted(file for file in local.rglob("*") if file.is_file())
        names = [str(file.relative_to(local)) for file in files]
        if kind_of(join(root, names[-1])) == "file":
            return
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            list(pool.map(lambda name: write_whole(join(root, name), (local / name).read_bytes()), names[:-1]))
        write_whole(join(root, names[-1]), files[-1].read_bytes())
