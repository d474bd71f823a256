"""What a search writes down: a record of every trial, and one of the search, as JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

State = Literal["waiting", "running", "finished", "stopped", "failed"]
Origin = Literal["baseline", "shipped", "suggested"]


@dataclass(frozen=True)
class CurvePoint:
    """What a trial's validation came to as it trained, the mean over the seeds that came so far.

    Attributes:
        step: the number of steps that were done before it.
        score: the mean over tasks, higher is better.
        scores: by task.
    """

    step: int
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Generation:
    """How a trial of a population came to the end of a segment, and whose state it goes on from.

    Attributes:
        step: the steps that were done.
        score: what the trial itself came to there, whoever it goes on from; None where it is not defined.
        parent: the number of the trial whose state and settings it goes on from, its own where these; None until the
            whole population has come there.
    """

    step: int
    score: float | None
    parent: int | None = None


@dataclass(frozen=True)
class TrialRecord:
    """One configuration that was tried, or waits to be.

    Attributes:
        number: its place in the search, from 0 on.
        settings: values by dotted key of the case file; of a baseline none.
        state: ``stopped`` is what the scheduler ended early, ``failed`` what ended with an error.
        score: what it came to on the validation split, higher is better, the mean over tasks and seeds; None where no
            seed has ended. Of a stopped trial, what it came to last.
        scores: by task, the mean over seeds, of the metric that the objective is made of; higher is better, but for
            an error that the objective names, which is negative.
        metrics: by ``<task>.<metric>``, the mean over seeds.
        seeds: how many seeds have ended.
        by_seed: the scores by task, of every seed that has ended.
        curve: its validations as it trained; of a population's trial those of the states that it came from.
        reason: why it was stopped or failed, in words; else None.
        seconds: of training and scoring, all seeds together.
        origin: ``baseline`` (couplings off, single-task networks), ``shipped`` (the case as it stands) or ``suggested``
            by the searcher.
        name: of a baseline, its name in tables (``naive``, ``single-task``); else empty.
        ended: when it ended, seconds since 1970; None before.
        generations: of a population's trial, the ends of the segments that it has trained.
    """

    number: int
    settings: dict[str, Any] = field(default_factory=dict)
    state: State = "waiting"
    score: float | None = None
    scores: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seeds: int = 0
    by_seed: dict[int, dict[str, float]] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    reason: str | None = None
    seconds: float = 0.0
    origin: Origin = "suggested"
    name: str = ""
    ended: float | None = None
    generations: tuple[Generation, ...] = ()

    @property
    def fixed_name(self) -> str:
        """What one that is always scored is called in tables and figures; empty of a suggested one."""
        return self.name or ("as it stands" if self.origin == "shipped" else "")

    @property
    def title(self) -> str:
        """What it is called in a line: what is always scored by its name, others by their number."""
        return self.fixed_name or f"trial {self.number}"

    @property
    def has_ended(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state in ("finished", "stopped", "failed")

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "curve": [asdict(point) for point in self.curve]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return what :meth:`as_dict` has made; keys of a newer version are left out."""
        known = {name: value for name, value in content.items() if name in _names(cls)}
        known["by_seed"] = {int(seed): dict(scores) for seed, scores in known.get("by_seed", {}).items()}
        known["curve"] = tuple(CurvePoint(**point) for point in known.get("curve", ()))
        known["generations"] = tuple(Generation(**of) for of in known.get("generations", ()))
        return cls(**known)


@dataclass(frozen=True)
class Baseline:
    """What a configuration that is always scored came to, as far as it has ended.

    Attributes:
        name: ``naive`` (all couplings off) or ``single-task`` (a network for every task).
        trial: the number of its record.
        score: the mean over tasks and seeds.
        scores: by task, the mean over seeds.
        intervals: by task, low and high end of the bootstrap interval of the score, over rows of the validation split
            and seeds.
    """

    name: str
    trial: int
    score: float | None
    scores: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class SearchRecord:
    """All of a search.

    Attributes:
        case: the case's name.
        space: what was searched, by dotted key: ``{"kind": "loguniform", "low": .., "high": ..}``, ``uniform`` and
            ``randint`` alike, ``{"kind": "choice", "values": [..]}``; a condition as ``"when": {key: [values]}``.
        objective: ``safe``, ``mean``, ``delta_m``, ``pareto`` or ``<task>.<metric>``.
        tasks: the names of the tasks, in the case's order; auxiliary ones left out.
        trials: every trial, by number, the baselines' among them.
        baselines: the naive one and the single-task networks.
        chosen: the number of the trial that became the best case; None where none did.
        verdict: in words, what was found, and whether it is more than chance.
        started: seconds since 1970.
        ended: None where the search was cut or still goes on.
        fresh: of the chosen trial, run again with fresh seeds: its score (the mean over tasks), by seed.
        front: with ``pareto``, the numbers of the trials that no other one beats in every task.
        reasons: by trial number, why it was not eligible, as for ``safe``: the task that got worse.
    """

    case: str
    space: dict[str, dict[str, Any]]
    objective: str
    tasks: tuple[str, ...] = ()
    trials: tuple[TrialRecord, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    chosen: int | None = None
    verdict: str = ""
    started: float = 0.0
    ended: float | None = None
    fresh: dict[int, float] = field(default_factory=dict)
    front: tuple[int, ...] = ()
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def suggested(self) -> list[TrialRecord]:
        """The searcher's trials, by number: no baseline, not the case as it stands."""
        return [of for of in self.trials if of.origin == "suggested"]

    @property
    def finished(self) -> list[TrialRecord]:
        """Of these, the ones that came to their end."""
        return [of for of in self.suggested if of.state == "finished" and of.score is not None]

    def json(self) -> str:
        """Return it as JSON; what is not a number is null."""
        content = asdict(self) | {"trials": [trial.as_dict() for trial in self.trials]}
        return finite_json(content)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what :meth:`json` has made."""
        content = {name: value for name, value in json.loads(text).items() if name in _names(cls)}
        content["tasks"] = tuple(content["tasks"])
        content["trials"] = tuple(TrialRecord.from_dict(trial) for trial in content["trials"])
        content["baselines"] = tuple(
            Baseline(**{**one, "intervals": {task: (low, high) for task, (low, high) in one["intervals"].items()}})
            for one in content["baselines"]
        )
        content["front"] = tuple(content["front"])
        for name in ("fresh", "reasons"):
            content[name] = {int(number): value for number, value in content[name].items()}
        return cls(**content)


def _names(cls: type) -> set[str]:
    return {one.name for one in fields(cls)}


def finite_json(content: Any) -> str:
    """Return JSON; what is not a finite number is null."""
    return json.dumps(finite(content), indent=1, allow_nan=False)


def finite(content: Any) -> Any:
    """Return JSON-like content with null for what is not a finite number."""
    if isinstance(content, dict):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
