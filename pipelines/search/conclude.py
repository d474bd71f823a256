"""What a search came to: the chosen trial, whether it beats what needs no search, and the records as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.case.case import Case
from pipelines.search.baselines import SINGLE_TASK
from pipelines.search.best_case import write_best_case
from pipelines.search.chance import interval
from pipelines.search.choice import choose, counts_of, difference
from pipelines.search.hparams import write_hparams
from pipelines.search.objective import Objective
from pipelines.search.records import Baseline, SearchRecord, TrialRecord
from pipelines.search.score import Counts
from pipelines.search.search import Search
from pipelines.search.store import SearchStore
from pipelines.train.checkpoints.store import delete_checkpoints


@dataclass(frozen=True)
class Conclusion:
    """What a search came to.

    Attributes:
        record: all of it.
        case_file: the best case; None where none was written.
    """

    record: SearchRecord
    case_file: str | None


def conclude(search: Search, over: bool = True) -> Conclusion:
    """Choose, compare with the baselines, and write the records, and the best case where there is one.

    Args:
        search: as it stands.
        over: whether it has ended.
    """
    case, store, objective = search.case, search.store, search.objective
    records = search.read_trials()
    state = store.read_state()
    chosen, reasons, front = choose(case, objective, records, store)
    verdict, better = _verdict(case, store, objective, records, chosen, search.state.fresh, reasons)
    file = None
    if better and chosen is not None and over:
        trial = next(of for of in records if of.number == chosen)
        file = write_best_case(case, store.folder, trial, verdict, records)
    record = SearchRecord(
        case.name,
        {key: parameter.as_dict() for key, parameter in search.space.items()},
        case.tuning.objective,
        tuple(objective.measures),
        tuple(records),
        _baselines(case, store, objective, records),
        chosen if better else None,
        verdict,
        search.state.started,
        state.ended if state and over else None,
        {seed: float(objective.value(of)) for seed, of in search.state.fresh.items() if of},
        front,
        reasons,
    )
    if over:
        store.write_search(record)
        for of in records:
            if of.generations and of.has_ended:  # nothing goes on from them any more
                delete_checkpoints(store.states_folder(of.number))
        if case.logging.tensorboard:
            write_hparams(store.folder, records)
    return Conclusion(record, file)


def _verdict(
    case: Case,
    store: SearchStore,
    objective: Objective,
    records: Sequence[TrialRecord],
    chosen: int | None,
    fresh: Mapping[int, Mapping[str, float]],
    reasons: Mapping[int, str],
) -> tuple[str, bool]:
    """Return what was found in words, and whether it is a case worth writing."""
    if chosen is None:
        if reasons:
            best, why = next(iter(reasons.items()))
            return (
                f"Under every trial a task is worse than alone, so none is chosen; of the best, {best}: {why}.",
                False,
            )
        return "No trial has come to its end.", False
    trial = next(of for of in records if of.number == chosen)
    single = next((of for of in records if of.name == SINGLE_TASK and of.scores), None)
    alone = single.scores if single else None
    seeds = [seed for seed, scores in fresh.items() if scores]
    of_trial = counts_of(store, trial, seeds or list(trial.by_seed))
    name = "The case as it stands" if trial.origin == "shipped" else f"Trial {chosen}"
    with_fresh = " with fresh seeds" if seeds else ""
    lines = [f"{name} scores {trial.score:.4f} on the validation split with the seeds that chose it."]
    if seeds:
        again = float(np.mean([objective.value(fresh[seed]) for seed in seeds]))
        lines[0] = lines[0][:-1] + f", and {again:.4f} with {len(seeds)} fresh ones."
    better = True
    for other in records:
        if other.origin == "suggested" or other.number == chosen or other.state != "finished":
            continue
        against = counts_of(store, other, list(other.by_seed))
        whom = "the case as it stands" if other.origin == "shipped" else other.name
        if not against or not of_trial:
            better = False  # nothing is written that may be no better
            lines.append(
                f"Against {whom}: not comparable, for what it was scored by is damaged or of an earlier version."
            )
            continue
        found = difference(case, objective, of_trial, against, single=alone)
        beats = found.low > 0
        better &= beats or other.origin == "shipped"
        words = "better" if beats else "worse" if found.high < 0 else "no better beyond chance"
        lines.append(f"Against {whom}{with_fresh}: {words}, {found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}].")
    for other in records:
        if other.origin == "baseline" and other.state == "failed":
            lines.append(f"{other.name} failed, and is not compared with: {other.reason}")
    lines += [f"Passed over: trial {number}, {why}." for number, why in list(reasons.items())[:5]]
    if not better:
        lines.append("Nothing beats what needs no search beyond chance: no case is written.")
    return "\n".join(lines), better


def _baselines(
    case: Case, store: SearchStore, objective: Objective, records: Sequence[TrialRecord]
) -> tuple[Baseline, ...]:
    found = []
    for of in records:
        if of.origin != "baseline":
            continue
        counts = counts_of(store, of, list(of.by_seed))
        intervals = {task: _interval(case, objective, counts, task) for task in of.scores} if counts else {}
        found.append(Baseline(of.name, of.number, of.score, of.scores, intervals))
    return tuple(found)


def _interval(case: Case, objective: Objective, counts: Sequence[Counts], task: str) -> tuple[float, float]:
    of_task = interval(
        counts,
        objective.measures,
        lambda scores: scores[task],
        replicates=case.evaluation.replicates,
        confidence=case.evaluation.confidence,
    )
    return of_task.low, of_task.high
