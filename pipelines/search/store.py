"""Where a search lies in the storage, and how its records are written and read again.

::

    tuning/<fingerprint>/                 below the experiment's folder; the fingerprint is of space, searcher, seeds
        state.json                        how far the search is allowed to go, and what it came to
        trials/00012.json                 the record of a trial, written whole whenever something happens to it
        trials/00012/runs/<arm>/...       its runs, as those of an experiment
        trials/00012/states/              of a population: how it stood at the ends of its last two segments
        trials/00012/counts-<seed>.safetensors   what it was scored by, input by input
        search.json, trials.parquet       all records together, at the end
        <case>-tuned.yaml                 the best case
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipelines.base.fingerprint import fingerprint
from pipelines.base.plain_json import read_json
from pipelines.base.progress import note
from pipelines.base.storage import join, list_folder, read_bytes, write_whole
from pipelines.case.case import Case
from pipelines.experiment.layout import experiment_folder
from pipelines.search.records import SearchRecord, TrialRecord, finite_json

TRIALS, STATE, SEARCH, PARQUET = "trials", "state.json", "search.json", "trials.parquet"
_STATES = "states"
_READERS = 16  # requests at once, where object storage answers each in tens of milliseconds

# What changes neither which trials there are nor what they come to: the search goes on with other values of these.
_MAY_CHANGE = ("trials", "hours", "gpu_hours", "concurrency", "gpus_per_trial", "fresh_seeds", "space")


@dataclass(frozen=True)
class SearchState:
    """What of a search does not follow from its trials.

    Attributes:
        target: how many trials it is to have, beside the baselines and the case as it stands.
        started: seconds since 1970.
        hours: how long it was at work, all commands together.
        ended: when it ended; None where it goes on.
        fresh: the winner's scores by task, by fresh seed.
        fresh_of: the number of the trial that they are of.
    """

    target: int
    started: float
    hours: float = 0.0
    ended: float | None = None
    fresh: dict[int, dict[str, float]] = field(default_factory=dict)
    fresh_of: int | None = None


def search_folder(case: Case, space: Mapping[str, Any]) -> str:
    """Return where the search of a case lies.

    Args:
        case: the case.
        space: the space as :meth:`pipelines.case.search_parameters.Parameter.as_dict` has it, by key.
    """
    # Of a population no trial is another's equal: one of another size is another search.
    may_change = set(_MAY_CHANGE) - ({"trials"} if case.tuning.search == "pbt" else set())
    settings = case.tuning.model_dump(mode="json", exclude=may_change)
    if settings["perturb_every"] is None:  # as searches were named before there was the key
        del settings["perturb_every"]
    return join(experiment_folder(case), "tuning", fingerprint(settings | {"space": dict(space)}))


class SearchStore:
    """The records of one search, in a folder or below a URL.

    Args:
        folder: of the search.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def trial_folder(self, number: int) -> str:
        """Return where a trial's runs lie."""
        return join(self.folder, TRIALS, f"{number:05}")

    def states_folder(self, number: int) -> str:
        """Return where the states lie from which trials of a population go on."""
        return join(self.trial_folder(number), _STATES)

    def write_trial(self, record: TrialRecord) -> None:
        """Write a trial's record, whole or not at all."""
        write_whole(join(self.folder, TRIALS, f"{record.number:05}.json"), finite_json(record.as_dict()))

    def read_trials(self) -> list[TrialRecord]:
        """Return all records by number; a damaged one counts as not there, and its trial is made again."""
        names = [name for name in list_folder(join(self.folder, TRIALS)) if name.endswith(".json")]
        with ThreadPoolExecutor(_READERS) as pool:
            found = [record for record in pool.map(self._read, names) if record is not None]
        return sorted(found, key=lambda record: record.number)

    def read_trial(self, number: int) -> TrialRecord | None:
        """Return a trial's record; None where there is none."""
        return self._read(f"{number:05}.json")

    def _read(self, name: str) -> TrialRecord | None:
        file = join(self.folder, TRIALS, name)
        try:
            return TrialRecord.from_dict(read_json(file))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            note(f"{file}: cut short or damaged; the trial is made again")
            return None

    def write_state(self, state: SearchState) -> None:
        """Write the search's state."""
        write_whole(join(self.folder, STATE), finite_json(asdict(state)))

    def read_state(self) -> SearchState | None:
        """Return the search's state; None where there is none."""
        try:
            content = read_json(join(self.folder, STATE))
            known = {name: content[name] for name in (one.name for one in fields(SearchState)) if name in content}
            known["fresh"] = {int(seed): scores for seed, scores in known.get("fresh", {}).items()}
            return SearchState(**known)
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return None

    def write_search(self, record: SearchRecord) -> None:
        """Write all records together, and the trials as a table."""
        write_whole(join(self.folder, SEARCH), record.json())
        write_whole(join(self.folder, PARQUET), trials_parquet(record.trials))

    def read_search(self) -> SearchRecord | None:
        """Return all records together, as they were when the search ended last; None where it has not."""
        try:
            return SearchRecord.from_json(read_bytes(join(self.folder, SEARCH)))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            note(f"{join(self.folder, SEARCH)}: cut short or damaged; `kindred tune` makes it again")
            return None


def trials_parquet(trials: Sequence[TrialRecord]) -> Any:
    """Return a Parquet file with a row a trial: its record, a column a searched key and one a task's score.

    Values of one key that are of different types (a number, a name) are texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tasks = list(dict.fromkeys(task for trial in trials for task in trial.scores))
    keys = list(dict.fromkeys(key for trial in trials for key in trial.settings))
    columns: dict[str, Any] = {
        name: pa.array([getattr(trial, name) for trial in trials], kind)
        for name, kind in (
            ("number", pa.int64()),
            ("origin", pa.string()),
            ("name", pa.string()),
            ("state", pa.string()),
            ("score", pa.float64()),
            ("seeds", pa.int64()),
            ("seconds", pa.float64()),
            ("reason", pa.string()),
        )
    }
    columns["steps"] = pa.array([trial.curve[-1].step if trial.curve else None for trial in trials], pa.int64())
    for task in tasks:
        columns[f"score.{task}"] = pa.array([trial.scores.get(task) for trial in trials], pa.float64())
    for key in keys:
        columns[key] = _column([trial.settings.get(key) for trial in trials])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def _column(values: list[Any]) -> Any:
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) == 1 and kinds <= {bool, str}:
        return pa.array(values)
    return pa.array([None if value is None else json.dumps(value) for value in values], pa.string())
