"""Remember that a case has been run to its end, so that the same command answers at once.

``kindred run`` of a finished case has nothing to do, and needs seconds to find that out: it imports torch, validates
the case, and lists the sources. So it notes what its answer depends on, as names, sizes and times of files: the case
file and what it names, everything below data_root, blocks, the experiment, and Kindred's own code. While none of that
has changed, the results that lie there are the answer. Whatever is in doubt is not noted, and done the long way.

It imports nothing that takes long.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import parse_yaml

FINISHED = ".finished"
_PACKAGES = Path(__file__).parents[2]
_OWN_CODE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_MOST_BYTES = 1 << 20  # of a case file: reading a larger one takes as long as what is saved
_MOST_FILES = 200_000  # listing more of them takes as long as what is saved


class _InDoubtError(Exception):
    """It cannot be told whether something has changed."""


def note_finished(
    case_file: Path,
    overrides: Sequence[str],
    storage: str,
    data_root: str,
    experiment: str,
    folders: Iterable[str],
    begun: float,
) -> None:
    """Note that a case has been run; do nothing where it cannot be told from local files whether it still is.

    Args:
        case_file: the case file.
        overrides: the command's.
        storage: storage.path.
        data_root: the case's.
        experiment: its folder.
        folders: of blocks and of what the sources' rows name.
        begun: when the command began, in seconds since the epoch; a source that changed since may not be in the blocks.
    """
    try:
        raw = _plain(case_file)
        words = [*_words(raw), *(word for override in overrides for word in _words(_value(override)))]
        if any(_OWN_CODE.fullmatch(word) for word in words) or any("://" in word for word in words):
            raise _InDoubtError
        watched = {str(case_file.absolute()), data_root, experiment, *folders}
        watched |= {str(_PACKAGES / name) for name in ("pipelines", "mtlcore", "tune_spaces")}
        for base in (case_file.absolute().parent, Path(data_root), Path.cwd()):
            watched |= {str(base / word) for word in words if len(word) < 1024 and _is_there(base / word)}
        watched = {os.path.normpath(path) for path in watched if not _is_above(path, storage)} | {data_root}
        if any("://" in path for path in watched):
            raise _InDoubtError
        states = {path: _state(path, storage) for path in sorted(watched)}
        outside = [newest for path, (_, newest) in states.items() if not _is_above(storage, path)]
        if max(outside, default=0) >= begun * 1e9:
            raise _InDoubtError
        noted = {
            "experiment": experiment,
            "watched": {path: state for path, (state, _) in states.items()},
        }
    except (_InDoubtError, OSError, ValueError, UserError):
        return
    file = _note_file(case_file, overrides, storage)
    scratch = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(noted))
        scratch.replace(file)
    except OSError:  # a full disk: the next call looks at everything again
        scratch.unlink(missing_ok=True)


def finished(case_name: str, shipped: Path, overrides: Sequence[str]) -> str | None:
    """Return the experiment's folder of a case that was run to its end and of which nothing has changed, else None.

    Args:
        case_name: path of the case file, or the name of a shipped one.
        shipped: where those lie.
        overrides: the command's.
    """
    case_file = Path(case_name) if Path(case_name).is_file() else shipped / f"{case_name}.yaml"
    try:
        storage = _storage_of(case_file, overrides)
        noted = json.loads(_note_file(case_file, overrides, storage).read_text())
        watched = noted["watched"].items()
        if any(_state(path, storage)[0] != was for path, was in watched):
            return None
        return str(noted["experiment"])
    except (_InDoubtError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UserError):
        return None


def _storage_of(case_file: Path, overrides: Sequence[str]) -> str:
    """Return storage.path as loading the case would."""
    given: Any = None
    for override in overrides:
        key, _, _ = override.partition("=")
        if key == "storage.path":
            given = _value(override)
        elif key.split(".")[0] == "storage":
            raise _InDoubtError
    if given is None:
        section = (_plain(case_file) or {}).get("storage") or {}
        given = section.get("path", "kindred-runs")
    if not isinstance(given, str) or "://" in given:
        raise _InDoubtError
    return str(Path(given).absolute())


def _note_file(case_file: Path, overrides: Sequence[str], storage: str) -> Path:
    versions = []
    for package in ("kindred-mtl", "torch", "pillow", "pyarrow"):
        try:
            versions.append(version(package))
        except PackageNotFoundError:
            versions.append("-")
    key = json.dumps([str(case_file.absolute()), list(overrides), os.getcwd(), versions])
    return Path(storage) / FINISHED / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _plain(case_file: Path) -> Any:
    if case_file.stat().st_size > _MOST_BYTES:
        raise _InDoubtError
    return parse_yaml(case_file.read_text(encoding="utf-8"), str(case_file))


def _value(override: str) -> Any:
    return parse_yaml(override.partition("=")[2], override)


def _words(value: Any) -> Iterator[str]:
    """Yield every text in a case file: some name files."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _words(key)
            yield from _words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _words(inner)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_above(path: str, below: str) -> bool:
    """Say whether a path is another one, or a folder above it."""
    return f"{os.path.normpath(below)}{os.sep}".startswith(os.path.normpath(path).rstrip(os.sep) + os.sep)


def _state(path: str, storage: str) -> tuple[str, int]:
    """Return what changes when a file, or anything below a folder, does, and the newest change in nanoseconds.

    Of a folder above the storage, the storage is left out.
    """
    within = os.path.normpath(storage) if _is_above(path, storage) else None
    digest, newest = hashlib.sha256(), 0
    for number, (name, status) in enumerate(_files(path, within)):
        if number >= _MOST_FILES:
            raise _InDoubtError
        newest = max(newest, status.st_mtime_ns, status.st_ctime_ns)
        line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}\0{status.st_ino}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32], newest


def _files(path: str, left_out: str | None) -> Iterator[tuple[str, os.stat_result]]:
    if not os.path.isdir(path):
        yield path, os.stat(path)
        return
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = sorted(
            name for name in folders if os.path.join(folder, name) != left_out and name not in ("__pycache__", ".git")
        )
        for name in sorted(names):
            file = os.path.join(folder, name)
            try:
                yield file, os.stat(file)
            except FileNotFoundError:  # a link that leads nowhere
                yield file, os.lstat(file)
