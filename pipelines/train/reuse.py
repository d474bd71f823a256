"""Runs of other experiments of the same storage that need not be trained again, or from their end alone.

An experiment is a case with all of its settings, so one more arm or seed makes another experiment. A run of it that an
earlier one has trained, to the same numbers from the same data, is copied; and where ``training.steps`` was raised, a
run goes on from the state that the shorter one has left (``final/`` in its folder).
"""

import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.base.progress import note
from pipelines.base.storage import delete, join, list_folder, parent, read_bytes, write_whole
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.identity import RunIdentity, identity
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import HISTORY, VALIDATIONS, WEIGHTS, Run, read_record, write_whole_record
from pipelines.experiment.run_folders import run_folders
from pipelines.train.checkpoints.file import Event, NotACheckpointError
from pipelines.train.checkpoints.store import (
    CHECKPOINTS,
    FINAL,
    checkpoint_names,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from pipelines.train.logs.jsonl_log import LOG
from pipelines.train.logs.relatedness_log import VISIBLE_RELATEDNESS
from pipelines.train.lr_schedule import learning_rate

_READ_AT_ONCE = 16


@dataclass(frozen=True)
class _Ended:
    """A run of another experiment that has ended: its folder, and run.json."""

    folder: str
    record: Mapping[str, Any]


def reuse_runs(case: Case, runs: Sequence[Run], data_sets: DataSets, experiment: str, extend: bool) -> None:
    """Copy what other experiments have of some runs: the run itself, or the state that it goes on from.

    Args:
        case: the case.
        runs: those of it that have not ended.
        data_sets: its datasets.
        experiment: its folder.
        extend: go on from the end of a shorter run even if its learning rates were others; told in any case.
    """
    runs = [run for run in runs if not checkpoint_names(join(run.folder(experiment), CHECKPOINTS))]
    if not runs:
        return
    current = provenance(data_sets)
    there = [one for one in _ended_elsewhere(case, experiment) if one.record.get("provenance") == current]
    by_settings = {one.record["settings"]: one for one in there}
    shorter: dict[str, list[_Ended]] = {}
    for one in there:
        shorter.setdefault(one.record["but_steps"], []).append(one)
    begins_anew: list[tuple[Run, int]] = []
    copied, longer = 0, 0
    for run in runs:
        whose = identity(case, run)
        if (same := by_settings.get(whose.settings)) is not None and _copy(run, same, experiment, whose):
            copied += 1
            continue
        ended = [one for one in shorter.get(whose.but_steps, ()) if one.record["planned"] < whose.planned]
        for one in sorted(ended, key=lambda one: -one.record["planned"]):
            exact = _would_begin_the_same(case, one.record)
            if exact and one.record["steps"] < one.record["planned"]:  # it stopped early, and would again
                if _copy(run, one, experiment, whose):
                    copied += 1
                    break
            elif exact or extend:
                if _go_on(run, one, experiment, exact):
                    longer += 1
                    break
            else:
                begins_anew.append((run, one.record["planned"]))
                break
    if copied:
        note(f"{copied} of {len(runs)} runs were trained before, in other experiments of this case; they are copied")
    if longer:
        note(f"{longer} of {len(runs)} runs go on from the end of a shorter one")
    if begins_anew:
        planned = max(steps for _, steps in begins_anew)
        note(
            f"{len(begins_anew)} of {len(runs)} runs begin anew, though shorter ones have ended: over "
            f"{case.training.steps:,} steps the schedule {case.training.schedule.kind!r} or the validations are not "
            f"those of {planned:,}; --extend goes on from their end all the same"
        )


def _ended_elsewhere(case: Case, experiment: str) -> list[_Ended]:
    """Return the runs that other experiments of this case in the same storage have ended."""
    storage, mine = parent(experiment), experiment.partition("?")[0].rpartition("/")[2]
    names = [name for name in list_folder(storage) if name.startswith(f"{case.name}-") and name != mine]
    folders = [folder for name in names for folder in run_folders(join(storage, name))]
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        records = list(pool.map(read_record, folders))
    return [
        _Ended(folder, record)
        for folder, record in zip(folders, records, strict=True)
        if record is not None and {"settings", "but_steps", "planned", "steps"} <= set(record)
    ]


def _would_begin_the_same(case: Case, record: Mapping[str, Any]) -> bool:
    """Say whether a run of the case's steps does, as far as a shorter one went, what that one did."""
    training, planned = case.training, record["planned"]
    short = training.model_copy(update={"steps": planned})
    every = training.validation.every_steps
    if every is not None and planned % every:  # it was validated after its last step, which the longer one is not
        return False
    return all(learning_rate(short, step) == learning_rate(training, step) for step in range(record["steps"]))


def _copy(run: Run, ended: _Ended, experiment: str, whose: RunIdentity) -> bool:
    """Copy a run that has ended, run.json last; say whether it was all there."""
    folder = run.folder(experiment)
    needed, others = (WEIGHTS, HISTORY), (VALIDATIONS, VISIBLE_RELATEDNESS, LOG)
    finals = [join(FINAL, name) for name in checkpoint_names(join(ended.folder, FINAL))]
    for name in (*needed, *others, *finals):
        try:
            content = read_bytes(join(ended.folder, name))
        except FileNotFoundError:
            if name in needed:
                return False
            delete(join(folder, name))
            continue
        write_whole(join(folder, name), content)
    record = dict(ended.record) | {"run": asdict(run), **asdict(whose), "copied_from": ended.folder}
    write_whole_record(folder, record)
    return True


def _go_on(run: Run, ended: _Ended, experiment: str, exact: bool) -> bool:
    """Make the state that a shorter run has left a checkpoint of this one; say whether there was one."""
    left = join(ended.folder, FINAL)
    name = newest_checkpoint(left, lambda _: True, note)
    if name is None:
        return False
    try:
        checkpoint = read_checkpoint(left, name)
    except (FileNotFoundError, NotACheckpointError):
        return False
    about, step = checkpoint.about, checkpoint.about.step
    other = "" if exact else ", whose learning rates were those of a run of that length"
    event = Event(step=step, what=f"went on from the end of a run of {step:,} steps{other}")
    # A name of its own in logs elsewhere: two experiments may go on from one run.
    update: dict[str, Any] = {"run": str(run), "events": (*about.events, event), "log_id": uuid.uuid4().hex[:12]}
    if not exact:
        update["went_on_from"] = (*about.went_on_from, step)
    begun = checkpoint.model_copy(update={"about": about.model_copy(update=update)})
    write_checkpoint(join(run.folder(experiment), CHECKPOINTS), begun, keep=1)
    return True
