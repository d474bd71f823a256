"""`kindred list`: the experiments of a storage, how far they are, how large, and what they came to."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from rich.table import Table
from rich.text import Text

from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_json
from pipelines.base.storage import join, kind_of, list_folder
from pipelines.base.terminal import as_text
from pipelines.evaluate.results import read_results
from pipelines.experiment.layout import CASE_FILE, EXPERIMENT
from pipelines.experiment.run_folders import run_folders
from pipelines.housekeeping.sizes import Extent, extent, in_words
from pipelines.report.headline import headlines

RESULTS = "results.json"


class Experiment(BaseModel):
    """An experiment in a storage.

    Attributes:
        name: of its folder.
        state: ``reported``, ``evaluated``, ``trained``, ``begun`` (some runs are missing), or ``damaged``.
        ended: its runs that have ended.
        runs: all of its runs; None where an earlier version has begun it.
        size: bytes.
        changed: when anything in it was written last, ISO 8601 in UTC; None in object storage.
        came_to: a line an arm; empty without results.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    state: str
    ended: int
    runs: int | None
    size: int
    changed: str | None
    came_to: tuple[str, ...]


def list_experiments(storage: str) -> list[Experiment]:
    """Return a storage's experiments, by name.

    Raises:
        UserError: there is no such folder.
    """
    return [_look_at(storage, name) for name in experiment_names(storage)]


def experiment_names(storage: str) -> list[str]:
    """Return the names of a storage's experiments: the folders with a case.yaml.

    Raises:
        UserError: there is no such folder.
    """
    if kind_of(storage) != "folder":
        raise UserError(f"STORAGE: found {storage!r}, and no folder there; expected the storage.path of a case")
    return [
        name
        for name in list_folder(storage)
        if not name.startswith(".") and kind_of(join(storage, name, CASE_FILE)) == "file"
    ]


def _look_at(storage: str, name: str) -> Experiment:
    folder = join(storage, name)
    ended = sum(kind_of(join(run, "run.json")) == "file" for run in run_folders(folder))
    try:
        runs = len(read_json(join(folder, EXPERIMENT))["runs"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        runs = None
    came_to: tuple[str, ...] = ()
    state = "begun" if runs is None or ended < runs else "trained"
    if kind_of(join(folder, RESULTS)) == "file":
        try:
            came_to = tuple(headlines(read_results(folder)))
            if state == "trained" or runs is None:
                state = "reported" if kind_of(join(folder, "report.html")) == "file" else "evaluated"
        except UserError:
            state = "damaged"
    size: Extent = extent(folder)
    changed = None
    if size.changed is not None:
        changed = datetime.fromtimestamp(size.changed, UTC).isoformat(timespec="seconds")
    return Experiment(name=name, state=state, ended=ended, runs=runs, size=size.size, changed=changed, came_to=came_to)


def experiments_text(experiments: list[Experiment]) -> str:
    """Return the list as a table."""
    if not experiments:
        return "no experiments"
    table = Table(caption=f"{len(experiments)} experiments, {in_words(sum(one.size for one in experiments))}")
    for name, justify in (("experiment", "left"), ("state", "left"), ("size", "right"), ("changed", "left")):
        table.add_column(name, justify=justify, no_wrap=name != "changed")  # type: ignore[arg-type]
    table.add_column("came to", overflow="fold")
    for one in experiments:
        runs = f" ({one.ended} of {one.runs} runs)" if one.state == "begun" and one.runs else ""
        changed = (one.changed or "").replace("T", " ").removesuffix("+00:00")
        table.add_row(Text(one.name), one.state + runs, in_words(one.size), changed, Text("\n".join(one.came_to)))
    return as_text(table)
