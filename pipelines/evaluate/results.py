"""The models of results.json, which are its schema; docs/results.md describes it."""

import json
import math
import os
import platform
import statistics
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from mtlcore import LOWER_IS_BETTER, Interval, Verdict, negative_transfer_verdict
from pipelines.base.errors import UserError
from pipelines.base.storage import join, read_bytes, write_whole


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(_Part):
    """What an arm gained over the baseline, in a task's primary metric or as Delta_m, with its interval."""

    value: float = Field(description="difference of the means over seeds")
    low: float = Field(description="lower end of the interval")
    high: float = Field(description="upper end of the interval")
    lower_is_better: bool = Field(default=False, description="whether it is of an error: a gain is negative")

    @property
    def verdict(self) -> Verdict:
        """``better``, ``worse`` (negative transfer), or ``no clear difference``; see mtlcore."""
        interval = Interval(self.value, self.low, self.high)
        return negative_transfer_verdict(interval, lower_is_better=self.lower_is_better)


class AgainstBest(_Part):
    """What an arm gained over the best of the arms that need no co-training."""

    baseline: str = Field(description="the best of `baselines` on this task, by the mean of the primary metric")
    difference: Difference
    verdict: Verdict = Field(description="better: co-training helped; worse; or no clear difference")


class Fusion(_Part):
    """How a task is predicted through its tables: each part's weight in the log-linear fusion, by seed."""

    head: list[float] = Field(description="of the class head; 0 where the table alone predicts")
    table: list[float] = Field(description="of the table beside the head; 0 where the table alone predicts")
    alone: list[float] = Field(description="of the table where it is alone: for `infer: table`, and for unseen classes")
    chosen_on: Literal["validation", "default"]


class OutputScores(_Part):
    """One class or label of a task; a value a seed, null where it is not defined."""

    support: int = Field(description="test inputs of the class, or for which the label holds")
    annotated: int = Field(description="test inputs that are annotated for it")
    precision: list[float | None]
    recall: list[float | None]
    f1: list[float | None]
    f1_at_threshold: list[float | None] | None = Field(
        default=None, description="of a label, at the threshold that the validation split chose"
    )

    def mean(self, score: str) -> float:
        """Return the mean over seeds of ``precision``, ``recall``, ``f1`` or ``f1_at_threshold``."""
        values = [value for value in getattr(self, score) or () if value is not None]
        return sum(values) / len(values) if values else math.nan


class Calibration(_Part):
    """Temperature and thresholds, fitted on the validation split, and what they change on the test split, by seed."""

    temperature: list[float] = Field(description="T: probabilities are softmax(z / T) or sigmoid(z / T)")
    error_before: list[float | None] = Field(description="calibration error with T = 1")
    error_after: list[float | None] = Field(description="calibration error with T")
    thresholds: dict[str, list[float]] = Field(
        default={}, description="by label of a multilabel task: from which probability on it is said to hold"
    )

    def mean(self, what: str) -> float:
        """Return the mean over seeds of ``temperature``, ``error_before`` or ``error_after``."""
        values = [value for value in getattr(self, what) if value is not None]
        return sum(values) / len(values) if values else math.nan


class TaskResult(_Part):
    """One arm on one task."""

    primary_metric: str = Field(
        description="the metric of `difference`: accuracy, macro_f1, mae (ordinal) or rmse (regression), unless "
        "evaluation.metrics says another"
    )
    lower_is_better: bool = Field(default=False, description="whether the primary metric is an error")
    metrics: dict[str, list[float | None]] = Field(
        description="every metric, one value per seed, in the order of `seeds`; null where not defined; in [0, 1] "
        "but for rmse and mae (in the labels' unit, or in classes), r2, ccc and quadratic_kappa (at most 1)"
    )
    difference: Difference | None = Field(
        description="to the baseline; null for the baseline itself, and where the baseline is at chance"
    )
    at_chance: bool = Field(
        default=False, description="a baseline that is not clearly above chance or the most frequent class"
    )
    against_best: AgainstBest | None = Field(
        default=None, description="of an arm that co-trains; null where no baseline is above chance"
    )
    unseen_recall: list[float | None] | None = Field(
        default=None,
        description="share of the test inputs of `unseen_classes` that are right, a value a seed; null without any",
    )

    by_output: dict[str, OutputScores] = Field(default={}, description="by class or label")
    calibration: Calibration | None = Field(
        default=None, description="null where no validation input is annotated for the task"
    )

    def mean(self, metric: str | None = None) -> float:
        """Return a metric's mean over seeds; the primary metric's where none is named."""
        values = [value for value in self.metrics[metric or self.primary_metric] if value is not None]
        return sum(values) / len(values) if values else math.nan

    def deviation(self, metric: str) -> float:
        """Return a metric's standard deviation between seeds; NaN where fewer than two are defined."""
        values = [value for value in self.metrics[metric] if value is not None]
        return statistics.stdev(values) if len(values) > 1 else math.nan


class PairSeen(_Part):
    """How two tasks of an arm's shared networks were related, as seen during training; null where not defined."""

    a: str
    b: str
    steps: list[int] = Field(description="the steps that were measured, before their update")
    head_sharing: list[list[float | None]] = Field(
        description="by seed and step: overlap in [0, 1] of the hidden units that the two heads read"
    )
    gradient_agreement: list[list[float | None]] = Field(
        description="by seed and step: cosine of the two losses' gradients on what the tasks share"
    )

    def mean(self, measure: str) -> list[float]:
        """Return the mean over seeds by step of ``head_sharing`` or ``gradient_agreement``; NaN where not defined."""
        by_step = zip(*getattr(self, measure), strict=True)
        defined = [[value for value in values if value is not None] for values in by_step]
        return [sum(values) / len(values) if values else math.nan for values in defined]


class RunEvent(_Part):
    """Something that happened to a run."""

    step: int = Field(description="the number of steps that were done")
    what: str


class Timing(_Part):
    """A run's own time, without start-up, and what became of its steps."""

    run: str
    seconds: float = Field(description="spent in steps")
    waited_for_data_s: float
    workers: int
    validation_s: float = Field(default=0.0, description="spent on validation, beside the steps")
    steps: int | None = Field(default=None, description="the updates that were made; fewer where it stopped early")
    parameters: int | None = Field(default=None, description="of the network; null where an earlier version trained it")
    best_step: int | None = Field(
        default=None, description="after how many updates its weights were taken; null: after the last"
    )
    events: list[RunEvent] = Field(default=[], description="resumed, stopped early, ...")


class DoubtedCell(_Part):
    """A cell of a relatedness that the data contradict; means over the seeds."""

    source: str = Field(description="output of A: the row")
    target: str = Field(description="output of B: the column")
    trust: float = Field(description="in [0, 1]; a seed that did not doubt the cell counts as 1")
    table: float = Field(description="what the table says")
    observed: float = Field(description="the share that was observed, over the seeds that doubt the cell")
    low: float = Field(description="low end of its interval")
    high: float = Field(description="high end of its interval")

    def __str__(self) -> str:
        return (
            f"{self.source}, {self.target}: table {_short(self.table)}, "
            f"data {_short(self.observed)} [{_short(self.low)}, {_short(self.high)}]"
        )


def _short(share: float) -> str:
    """Return a share with two digits, and without the zero before the point."""
    return f"{share:.2f}".removeprefix("0")


class EdgeTrust(_Part):
    """How far the data bore out a relatedness at the end of training; see mtlcore.RelatednessTrust."""

    weighed: bool = Field(description="whether training weighed the cells by it, or only estimated it")
    rows: dict[str, float] = Field(description="mean trust in [0, 1] of the known cells of each row, mean over seeds")
    doubted: list[DoubtedCell] = Field(default=[], description="cells of a trust below 0.5, the least trusted first")

    def mean(self) -> float:
        """Return the mean over rows."""
        return sum(self.rows.values()) / len(self.rows)


class DataSetSummary(_Part):
    """What a dataset held."""

    split: str
    rows: int
    quarantined: int
    annotated: dict[str, int] = Field(description="annotated rows by task")
    content_hash: str
    rows_per_step: int | None = Field(description="rows of it in every batch; null where it is not trained on")
    quarantined_for: dict[str, int] = Field(default={}, description="quarantined rows by kind of reason")
    taken_out: int = Field(default=0, description="rows in no batch: their inputs stand in a later split too")
    leakage: dict[str, int] = Field(
        default={}, description="rows whose inputs stand in a later split too, by its dataset; taken out or not"
    )
    near: dict[str, int] = Field(
        default={}, description="rows that look like one of a later split, and are not the same, by its dataset"
    )

    @property
    def leaks(self) -> list[str]:
        """How many rows leak, by reason; empty where none does."""
        same = [f"{n:,} the same as in {other}" for other, n in self.leakage.items()]
        return same + [f"{n:,} look like one of {other}" for other, n in self.near.items()]


class Confusion(_Part):
    """Counts of test inputs of the main task, summed over seeds."""

    task: str
    counts: dict[str, list[tuple[int, int, int]]] = Field(
        description="by arm: true class, predicted class and how many inputs, for every pair of which there is one"
    )


class VerificationOfArm(_Part):
    """How well an arm's embeddings tell pairs of one identity from pairs of two; a value a seed."""

    auc: list[float | None] = Field(description="probability that a pair of one identity is more alike than one of two")
    eer: list[float | None] = Field(description="equal error rate: lower is better; 0.5 is chance, as of auc")
    difference: Difference | None = Field(
        description="of auc to the baseline, with an interval over seeds and identities; null of the baseline itself"
    )

    def mean(self, metric: str) -> float:
        """Return the mean over seeds of ``auc`` or ``eer``."""
        values = [value for value in getattr(self, metric) if value is not None]
        return sum(values) / len(values) if values else math.nan


class VerificationResult(_Part):
    """Pairs of inputs of identities that no network was trained on, by the cosine of what goes into a task's head."""

    task: str
    inputs: int
    identities: int
    same: int = Field(description="pairs of one identity")
    different: int = Field(description="pairs of two")
    arms: dict[str, VerificationOfArm] = Field(description="by arm; one that uses another's networks is left out")


class Results(_Part):
    """Everything that a case showed."""

    schema_version: int = 2
    case: str
    experiment: str = Field(description="name of the folder below storage.path")
    baseline: str
    main_task: str
    seeds: list[int]
    steps: int
    confidence: float = Field(description="coverage of every interval")
    arms: dict[str, dict[str, TaskResult]] = Field(
        description="by arm and task; without the tasks that an arm does not serve, and those without labels to test on"
    )
    delta_m: dict[str, float | None] = Field(
        description="by arm: mean over tasks of the relative gain in the primary metric over the baseline, "
        "auxiliary tasks left out"
    )
    trust: dict[str, dict[str, EdgeTrust]] = Field(
        description="by arm and edge (A->B); arms without an edge are left out"
    )
    baselines: list[str] = Field(default=[], description="the arms that need no co-training")
    fusion: dict[str, dict[str, Fusion]] = Field(
        default={}, description="by arm and task: the arms that predict through a table"
    )
    unseen_classes: dict[str, list[str]] = Field(
        default={}, description="by multiclass task: the classes without a labelled training input, if it has any"
    )
    auxiliary: list[str] = Field(default=[], description="tasks that train and are reported, and are not exported")
    delta_m_difference: dict[str, Difference | None] = Field(
        default={}, description="by arm: Delta_m with its interval; null for the baseline and where it is not defined"
    )
    lower_is_better: list[str] = Field(
        default=sorted(LOWER_IS_BETTER), description="the metrics that are errors; every other is better when higher"
    )
    visible_relatedness: dict[str, list[PairSeen]] = Field(
        default={}, description="by arm of shared networks: what training showed of every pair of tasks"
    )
    data_sets: dict[str, DataSetSummary] = Field(description="by dataset; with folds, those of the first fold")
    folds: int | None = Field(default=None, description="over how many folds; null without folds")
    confusion: Confusion | None
    confusions: dict[str, Confusion] = Field(default={}, description="of every multiclass task")
    verification: VerificationResult | None = Field(
        default=None, description="of evaluation.verification; null without it"
    )
    timings: list[Timing]
    versions: dict[str, str]
    warnings: list[str] = Field(default=[], description="what is odd about the labels as a whole, worst first")
    made_from: str | None = Field(
        default=None, description="fingerprint of the runs, data and settings; the same ones are not evaluated again"
    )
    git_commit: str | None = Field(description="of the code; ends with -dirty where it was changed; null if unknown")

    def of_task(self, task: str) -> dict[str, TaskResult]:
        """Return the results on a task by arm: of the arms that serve it."""
        return {arm: of_arm[task] for arm, of_arm in self.arms.items() if task in of_arm}

    @property
    def tested(self) -> list[str]:
        """The tasks that an arm has a result on, in the case's order."""
        return list(
            dict.fromkeys(task for of_arm in sorted(self.arms.values(), key=len, reverse=True) for task in of_arm)
        )

    def write(self, folder: str) -> str:
        """Write results.json; return its path."""
        file = join(folder, "results.json")
        write_whole(file, json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False))
        return file


def read_results(folder: str) -> Results:
    """Read results.json.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = join(folder, "results.json")
    try:
        content = read_bytes(file)
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such file; expected results; `kindred evaluate` with the same case and --set comes first"
        ) from None
    try:
        return Results.model_validate_json(content)
    except ValueError:
        again = "`kindred evaluate` with the same case and --set makes it again"
        raise UserError(f"{file}: cut short, damaged, or of another version; {again}") from None


def installed_versions() -> dict[str, str]:
    """Return the versions that a number may depend on."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("kindred-mtl", "torch", "ray", "pyarrow", "numpy", "torchmetrics"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def git_commit() -> str | None:
    """Return the commit of the code, if it runs from a checkout; GIT_COMMIT speaks for an image built from one."""
    folder = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", __file__],
            cwd=folder,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return os.environ.get("GIT_COMMIT")
    return described.stdout.strip() if tracked.returncode == 0 else os.environ.get("GIT_COMMIT")
