"""`kindred tune`: search for better settings of one arm, on the validation split, and write the best as a case file.

What is tried lies in the storage alone; the same command goes on from there, whatever ended the last one.
"""

from dataclasses import dataclass
from typing import Any

from rich.table import Table

from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.base.ray_session import is_own_ray, need_ray
from pipelines.base.terminal import as_text
from pipelines.base.waiting import Waiting
from pipelines.batches.counted_relatedness import check_counted
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.case.search_parameters import Parameter
from pipelines.case.search_spaces import load_space
from pipelines.case.training import Matching
from pipelines.experiment.lease import training_lease
from pipelines.search.best_case import settings_words
from pipelines.search.conclude import conclude
from pipelines.search.live import live_search
from pipelines.search.page import write_page
from pipelines.search.records import SearchRecord, TrialRecord
from pipelines.search.search import Search, gpus_of_trial
from pipelines.search.store import SearchStore, search_folder
from pipelines.train.logs.wandb_log import check_wandb
from pipelines.train.prepare import check_compiler

_LONGEST_TABLE = 40


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        record: all of it: trials, baselines, and what was found in words.
        case_file: the case file with the best settings; None where nothing beats the baselines.
        folder: where all of it lies.
        page: the HTML page.
    """

    record: SearchRecord
    case_file: str | None
    folder: str
    page: str

    @property
    def all_failed(self) -> bool:
        """Whether no trial came to a score, the case as it stands among them."""
        return not any(of.score is not None for of in self.record.trials if of.origin != "baseline")

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        trials = [of.as_dict() for of in self.record.trials]
        return {
            "best_case": self.case_file,
            "chosen": self.record.chosen,
            "verdict": self.record.verdict,
            "folder": self.folder,
            "page": self.page,
            "baselines": [vars(of) for of in self.record.baselines],
            "fresh": self.record.fresh,
            "front": list(self.record.front),
            "trials": trials,
        }

    def table(self) -> str:
        """Return the baselines, the case as it stands, and the trials, the best first, as a table."""
        trials = self.record.trials
        suggested = self.record.suggested
        states = {state: sum(of.state == state for of in suggested) for state in ("finished", "stopped", "failed")}
        words = f"{len(suggested)} trials, {states['stopped']} stopped early, {states['failed']} failed"
        table = Table(title=f"{words}; scored on the validation split", title_justify="left")
        tasks = self.record.tasks
        for name in ("trial", "score", *tasks, "seeds"):
            table.add_column(name, justify="right")
        table.add_column("settings, or why not", overflow="fold")
        suggested.sort(key=lambda of: (of.state != "finished", -of.seeds, -(of.score or -1e9), of.number))
        fixed = [of for of in trials if of.origin != "suggested"]
        failed = [of for of in suggested if of.state == "failed"]
        shown = suggested[: max(0, _LONGEST_TABLE - len(failed))]
        for of in [*fixed, *shown, *(of for of in failed if of not in shown)]:
            mark = "*" if of.number == self.record.chosen else ""
            label = of.fixed_name or str(of.number)
            scores = [_score(of.score), *(_score(of.scores.get(task)) for task in tasks)]
            table.add_row(f"{mark}{label}", *scores, str(of.seeds), _about(of))
        left_out = len(suggested) - len(shown)
        return as_text(table, *([f"... and {left_out} more"] if left_out > 0 else []), self.record.verdict, width=140)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _about(of: TrialRecord) -> str:
    if of.state == "failed":
        return f"failed: {(of.reason or '').splitlines()[0] if of.reason else ''}"
    stopped = f"stopped early at {of.reason}; " if of.state == "stopped" else ""
    return stopped + settings_words(of.settings)


def tune(case: Case, data_sets: DataSets, extend: int = 0, wait: bool = False) -> Tuned:
    """Run the search of ``case.tuning``, or what of it is left; needs a Ray, or :func:`ray_on_demand` around it.

    Args:
        case: the case, with what is measured of its data.
        data_sets: ingested; the test split is left alone.
        extend: by how many trials it is to be longer, where it has ended.
        wait: where another process is at the same search, wait until it has ended.

    Raises:
        UserError: a task has no validation data, the search cannot be as it is asked for, or another process is at it.
    """
    check_tunable(case)
    if extend and case.tuning.search == "pbt":
        raise UserError(
            f"--extend: found {extend}, and tuning.search pbt, whose trials train side by side from the beginning; "
            "expected another number of tuning.trials, which is another search"
        )
    check_wandb(case)
    check_compiler(case)
    check_counted(case, data_sets)
    space = space_of(case)
    tuning_sets = data_sets.of_split("train", "validation")
    folder = search_folder(case, {key: parameter.as_dict() for key, parameter in space.items()})
    search = Search(case, space, SearchStore(folder), extend)
    if search.has_work():
        with training_lease(folder, wait=wait):
            search = Search(case, space, SearchStore(folder), extend)  # as another process has left it
            if search.has_work():
                search = _run(case, space, tuning_sets, folder, extend, search.summary().target)
    found = conclude(search)
    return Tuned(found.record, found.case_file, folder, write_page(found.record, folder, found.case_file))


def _run(case: Case, space: dict[str, Parameter], data_sets: DataSets, folder: str, extend: int, target: int) -> Search:
    """Run the trials that are left; say what is there where that is cut short."""
    from pipelines.search.workers import run_trials

    store = SearchStore(folder)
    try:
        need_ray()
        with live_search(case.name, target, _waiting(case)) as shown:
            run_trials(case, space, data_sets, folder, extend, shown)
    except KeyboardInterrupt:
        trials = store.read_trials()
        ended = sum(of.has_ended for of in trials)
        note(f"the search was cut: {ended} of {target} trials have ended; {folder} has them")
        raise
    return Search(case, space, store)


def _waiting(case: Case) -> Waiting | None:
    """Return who says what trials wait for; on a cluster alone, for a Ray of one's own has all there at once."""
    if is_own_ray():
        return None
    training = case.training
    each = {"CPU": float(training.threads_per_worker), "GPU": gpus_of_trial(case) / training.max_workers}
    return Waiting(training.min_workers, each, ", or ask for less (training.workers, threads_per_worker, device)")


def space_of(case: Case) -> dict[str, Parameter]:
    """Return what a case searches.

    Raises:
        UserError: there is no such space, or it does not fit the case.
    """
    try:
        return load_space(case.tuning.space, case.model_dump(mode="json", by_alias=True), case.tuning.arm)
    except ValueError as error:
        raise UserError(f"tuning.space: {error}") from None


def check_tunable(case: Case, *, needs_losses: bool = True) -> None:
    """Raise UserError where the search cannot be: no such arm, one without a loss to weigh, no validation data.

    ``needs_losses``: whether it may be the losses of related tasks that are searched.
    """
    from mtlcore.suggestions import did_you_mean

    arm = case.tuning.arm
    if arm not in case.arms:
        raise UserError(f"tuning.arm: found {arm!r}, no such arm{did_you_mean(arm, case.arms)}")
    if needs_losses and not isinstance(case.arms[arm].matching, Matching):
        searched = [key for key in space_of(case) if key.startswith(("training.matching.", f"arms.{arm}.matching."))]
        if searched:
            raise UserError(
                f"tuning.arm: found {arm!r}, an arm with matching: none; expected one with losses of related tasks, "
                f"whose {searched[0]} is searched"
            )
    for task in case.tasks:
        if not any(task in data_set.labels for data_set in case.of_split("validation").values()):
            raise UserError(
                f"datasets: found none of split 'validation' labelled for task {task!r}; "
                "expected one: `kindred tune` scores on it, and never on the test split"
            )
