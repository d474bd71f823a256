"""Which trial a search chooses: the best by its objective, and none under which a task is worse than alone."""

from collections.abc import Mapping, Sequence

import numpy as np

from mtlcore.metrics.interval import Interval
from pipelines.case.case import Case
from pipelines.search.baselines import SINGLE_TASK
from pipelines.search.chance import interval
from pipelines.search.objective import Objective
from pipelines.search.records import TrialRecord
from pipelines.search.score import Counts, read_counts
from pipelines.search.store import SearchStore

_SLACK = 0.01  # a task may be so much worse than alone before a safe search goes elsewhere: seeds differ by as much


def value_to_search(
    case: Case, objective: Objective, scores: Mapping[str, float], single: Mapping[str, float] | None
) -> float:
    """Return what a searcher goes by, higher is better; of a safe search less where a task is worse than alone.

    Args:
        case: the case.
        objective: its objective.
        scores: by task.
        single: the single-task networks' scores, as far as there are any.
    """
    value = float(objective.value(scores, single))
    if objective.kind != "safe" or not single:
        return value
    return value - sum(max(0.0, single[task] - _SLACK - score) for task, score in scores.items() if task in single)


def counts_of(store: SearchStore, record: TrialRecord, seeds: Sequence[int]) -> list[Counts]:
    """Return the counts of a trial's seeds that have been scored."""
    found = [read_counts(store.trial_folder(record.number), seed) for seed in seeds]
    return [counted for counted in found if counted is not None]


def choose(
    case: Case, objective: Objective, records: Sequence[TrialRecord], store: SearchStore
) -> tuple[int | None, dict[int, str], tuple[int, ...]]:
    """Choose among the trials that came to their end with the most seeds, the case as it stands among them.

    Returns:
        the number of the trial, None where none may be chosen; by number why better ones may not; and with ``pareto``
        the numbers of the front.
    """
    ended = [of for of in records if of.origin != "baseline" and of.state == "finished" and of.scores]
    most = max((of.seeds for of in ended), default=0)
    candidates = [of for of in ended if of.seeds == most]
    single = next((of for of in records if of.name == SINGLE_TASK and of.state == "finished"), None)
    alone = single.scores if single else None
    front: tuple[int, ...] = ()
    if objective.kind == "pareto":
        front = pareto_front(ended)
        candidates = [of for of in candidates if of.number in front] or candidates
    candidates.sort(key=lambda of: (-float(objective.value(of.scores, alone)), of.number))
    reasons: dict[int, str] = {}
    for record in candidates:
        worse = worse_task(case, objective, record, single, store) if objective.kind in ("safe", "pareto") else None
        if worse is None:
            return record.number, reasons, front
        reasons[record.number] = worse
    return None, reasons, front


def worse_task(
    case: Case, objective: Objective, record: TrialRecord, single: TrialRecord | None, store: SearchStore
) -> str | None:
    """Say which task a trial makes worse than its single-task network, beyond chance; None where none."""
    if single is None:
        return None
    of_trial, of_single = (counts_of(store, of, list(of.by_seed)) for of in (record, single))
    if not of_trial or not of_single:
        return None
    for task in objective.measures:
        if task not in record.scores or task not in single.scores or record.scores[task] >= single.scores[task]:
            continue
        found = difference(case, objective, of_trial, of_single, task)
        if found.high < 0:
            by = f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
            return f"{task} is worse than its single-task network: {by}"
    return None


def difference(
    case: Case,
    objective: Objective,
    of_trial: Sequence[Counts],
    against: Sequence[Counts],
    task: str | None = None,
    single: Mapping[str, float] | None = None,
) -> Interval:
    """Return by how much a trial is better than another, with the interval; of one task, or by the objective."""
    return interval(
        of_trial,
        objective.measures,
        (lambda scores: scores[task]) if task else (lambda scores: objective.value(scores, single)),
        against=against,
        replicates=case.evaluation.replicates,
        confidence=case.evaluation.confidence,
    )


def pareto_front(records: Sequence[TrialRecord], tasks: Sequence[str] | None = None) -> tuple[int, ...]:
    """Return the numbers of the trials that no other one beats in every task, or equals in all and beats in one.

    Args:
        records: the trials, in the order in which those of the front are returned.
        tasks: those that are compared; by default those that all trials have a score of.
    """
    if not records:
        return ()
    compared = tasks or [task for task in records[0].scores if all(task in of.scores for of in records)]
    scores = np.array([[of.scores[task] for task in compared] for of in records], dtype=np.float64)
    # From the greatest on, by the first task, then the next: who beats a trial stands before it, is no worse in the
    # first task, and if anybody does, somebody of the front does.
    order = np.lexsort(-scores.T[::-1]) if compared else np.arange(len(records))
    front, numbers = np.empty(scores.T.shape), list[int]()
    for score, place in zip(scores[order], order, strict=True):
        of_front = front[:, : len(numbers)]
        no_worse = np.flatnonzero((of_front[1:] >= score[1:, None]).all(axis=0))
        if not (of_front[:, no_worse] > score[:, None]).any():
            front[:, len(numbers)] = score
            numbers.append(int(place))
    return tuple(records[place].number for place in sorted(numbers))
