"""`kindred clean`: what nothing in a storage needs any more; shown first, deleted when that is said.

What is proposed: blocks that no experiment and no newest ingest refers to, records of older ingests, checkpoints of
runs that have ended, scratch files of killed writers, and experiments that came to nothing (no run ended, and none has
a checkpoint). Nothing is proposed that was written within the last day, or is reached through a link. Object storage
tells no times here: of it, only what is named is proposed, unless everything is asked for, however new.
"""

import os
import shutil
import time
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from pipelines.base.errors import UserError
from pipelines.base.storage import delete, is_remote, join, kind_of, list_below, list_folder
from pipelines.base.terminal import as_text
from pipelines.blocks.datasets import read_data_sets
from pipelines.experiment.layout import DATA_SETS
from pipelines.experiment.run_folders import run_folders
from pipelines.housekeeping.listing import experiment_names
from pipelines.housekeeping.sizes import extent, in_words

BLOCKS = "blocks"
_FINGERPRINT = 12


class Unneeded(BaseModel):
    """Something that can go: its place below the storage, why, and how large it is."""

    model_config = ConfigDict(frozen=True)
    path: str
    why: str
    files: int
    size: int


def find_unneeded(
    storage: str, experiments: Sequence[str] = (), states: bool = False, older_than_days: float = 1.0
) -> list[Unneeded]:
    """Return what can go; nothing is deleted.

    Args:
        storage: the folder or URL.
        experiments: experiments that go whole, by name, finished or not.
        states: whether the states at the end of finished runs go too; more ``training.steps`` then begin anew.
        older_than_days: what was written later stays, but for the experiments that are named.

    Raises:
        UserError: there is no such storage or experiment.
    """
    there = experiment_names(storage)
    if not there and not list_folder(join(storage, BLOCKS)):
        raise UserError(f"STORAGE: found {storage!r}, which holds no experiment and no blocks; expected a storage.path")
    for name in experiments:
        if name not in there:
            raise UserError(f"--experiment: found {name!r}; expected one of {', '.join(there) or 'none'}")
    found = [(name, "named") for name in experiments]
    kept = [name for name in there if name not in experiments and not _is_link(join(storage, name))]
    nothing = [name for name in kept if _came_to_nothing(join(storage, name))]
    candidates = [(name, "no run of it has ended or left a checkpoint") for name in nothing]
    kept = [name for name in kept if name not in nothing]
    for name in kept:
        candidates += _in_experiment(storage, name, states)
    candidates += _in_blocks(storage, [*kept, *nothing])
    newest = time.time() - 86400 * older_than_days
    unneeded = [_measured(storage, path, why) for path, why in found]
    for path, why in candidates:
        changed = extent(join(storage, path)).changed
        if not _is_link(join(storage, path)) and (older_than_days == 0 if changed is None else changed <= newest):
            unneeded.append(_measured(storage, path, why))
    return [one for one in unneeded if not any(one.path.startswith(f"{other.path}/") for other in unneeded)]


def delete_unneeded(storage: str, unneeded: Sequence[Unneeded]) -> int:
    """Delete what was found; return the bytes. A link that has come since is not followed."""
    for one in unneeded:
        url = join(storage, one.path)
        if is_remote(url):
            folder = kind_of(url) == "folder"
            for place in [join(url, entry.name) for entry in list_below(url)] if folder else [url]:
                delete(place)
            continue
        inside = os.path.realpath(url).startswith(os.path.realpath(storage).rstrip(os.sep) + os.sep)
        if not inside or _is_link(url):
            continue
        if os.path.isdir(url):
            shutil.rmtree(url)
        else:
            delete(url)
    return sum(one.size for one in unneeded)


def _measured(storage: str, path: str, why: str) -> Unneeded:
    size = extent(join(storage, path))
    return Unneeded(path=path, why=why, files=size.files, size=size.size)


def _is_link(url: str) -> bool:
    return not is_remote(url) and os.path.islink(url)


def _came_to_nothing(experiment: str) -> bool:
    for run in run_folders(experiment):
        if kind_of(join(run, "run.json")) == "file" or list_folder(join(run, "checkpoints")):
            return False
    return kind_of(join(experiment, "results.json")) != "file" and not list_folder(join(experiment, "tuning"))


def _in_experiment(storage: str, name: str, states: bool) -> Iterator[tuple[str, str]]:
    """Yield what can go of an experiment that stays."""
    experiment = join(storage, name)
    for folder in run_folders(experiment):
        if kind_of(join(folder, "run.json")) != "file":
            continue
        run = folder.partition("?")[0][-_tail(experiment, folder) :]
        for what, why, goes in (
            ("checkpoints", "its run has ended", True),
            ("final", "the state at a run's end; more steps would begin anew", states),
        ):
            if goes and list_folder(join(folder, what)):
                yield f"{name}/{run}/{what}", why
    if not is_remote(experiment):
        for folder, folders, files in os.walk(experiment):
            folders[:] = [inner for inner in folders if inner != ".ray"]
            for file in files:
                target = file[1:].rpartition(".")[0]
                if file.startswith(".") and target:
                    yield os.path.relpath(os.path.join(folder, file), storage), "left by a write that was killed"


def _tail(experiment: str, folder: str) -> int:
    return len(folder.partition("?")[0]) - len(experiment.partition("?")[0]) - 1


def _in_blocks(storage: str, experiments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield block folders and records of ingests that are not referred to."""
    root = join(storage, BLOCKS)
    names = [name for name in list_folder(root) if not name.startswith(".")]
    records = [name for name in names if name.endswith(".json")]
    newest = _newest(root, records)
    referring = [join(storage, name, DATA_SETS) for name in experiments] + [join(root, name) for name in newest]
    used = {
        folder.partition("?")[0].rstrip("/").rpartition("/")[2]
        for file in referring
        if (made := read_data_sets(file)) is not None
        for folder in made.folders.values()
    }
    for name in names:
        if name in records:
            if name not in newest and not _all_used(join(root, name), used):
                yield f"{BLOCKS}/{name}", "the record of an older ingest of its case"
        elif name not in used and len(name.rpartition("-")[2]) == _FINGERPRINT:
            yield f"{BLOCKS}/{name}", "blocks that no experiment and no newest ingest uses"


def _all_used(record: str, used: set[str]) -> bool:
    made = read_data_sets(record)
    return made is not None and all(folder.rstrip("/").rpartition("/")[2] in used for folder in made.folders.values())


def _newest(root: str, records: Sequence[str]) -> list[str]:
    """Return each case's newest record of an ingest; in object storage, which tells no times here, all of them."""
    if is_remote(root):
        return list(records)
    by_case: dict[str, list[str]] = {}
    for name in records:
        by_case.setdefault(name.removesuffix(".json").rpartition("-")[0], []).append(name)
    return [max(of, key=lambda name: os.stat(join(root, name)).st_mtime) for of in by_case.values()]


def unneeded_text(unneeded: Sequence[Unneeded], deleted: bool) -> str:
    """Return the list as a table."""
    if not unneeded:
        return "nothing to delete"
    size = in_words(sum(one.size for one in unneeded))
    caption = f"{size} deleted" if deleted else f"{size}; --yes deletes them"
    table = Table(caption=caption, caption_justify="left")
    table.add_column("path", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("why", overflow="fold")
    for one in unneeded:
        table.add_row(Text(one.path), in_words(one.size), one.why)
    return as_text(table)
