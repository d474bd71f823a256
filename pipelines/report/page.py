"""What the report says beside its figures: contents, confusions, trust, costs and settings, ready for the template."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlcore import Multiclass, Task
from pipelines.case.case import Case
from pipelines.evaluate.results import EdgeTrust, Results

MOST_CONFUSIONS, MOST_CELLS, MOST_OUTPUTS = 20, 12, 400
_AT_EACH_END = 50  # of more classes or labels than that: those gained and lost most
_MOST_LISTED_ROWS = 200
_MOST_TRUSTED_ROWS, _MOST_DOUBTED_ROWS, _LONGEST_VALUE = 12, 24, 300
_NO_SETTINGS = {"storage", "logging", "tuning"}


@dataclass(frozen=True)
class Confused:
    """A class that is taken for another: how often by the arm, and how often by the baseline."""

    true: str
    predicted: str
    times: int
    times_by_baseline: int


@dataclass(frozen=True)
class Confusions:
    """What an arm confuses most often, the most frequent first."""

    arm: str
    classes: int
    pairs: list[Confused]


def top_confusions(results: Results, task: Task) -> Confusions | None:
    """Return what the last arm confuses most often; None where the task is multilabel."""
    if results.confusion is None or not isinstance(task, Multiclass):
        return None
    arm = compared_arm(results)
    wrong, of_baseline = (
        {(true, predicted): n for true, predicted, n in results.confusion.counts[name] if true != predicted}
        for name in (arm, results.baseline)
    )
    most = sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:MOST_CONFUSIONS]
    pairs = [Confused(task.classes[t], task.classes[p], wrong[t, p], of_baseline.get((t, p), 0)) for t, p in most]
    return Confusions(arm, len(task.classes), pairs)


def outputs_shown(results: Results) -> dict[str, list[str]]:
    """Return, by task, the classes or labels that the page lists, in the task's order.

    All of them, or, of thousands, those whose F1 differs most from the baseline's, to either side; those with most
    test inputs where the task has no baseline.
    """
    shown = {}
    for task in results.tested:
        of_arms = results.of_task(task)
        first = next(iter(of_arms.values())).by_output
        names = list(first)
        if len(names) > MOST_OUTPUTS:
            arm = ([name for name in of_arms if name != results.baseline] or list(of_arms))[-1]
            other = of_arms.get(results.baseline)
            if other is None or arm == results.baseline:
                names = sorted(names, key=lambda name: -first[name].support)[: 2 * _AT_EACH_END]
            else:
                compared = [
                    (of_arms[arm].by_output[name].mean("f1"), other.by_output[name].mean("f1")) for name in names
                ]
                gains = [a - b for a, b in compared]
                defined = sorted((i for i, gain in enumerate(gains) if gain == gain), key=lambda i: gains[i])
                kept = {*defined[:_AT_EACH_END], *defined[-_AT_EACH_END:]}
                names = [name for i, name in enumerate(names) if i in kept]
        shown[task] = names
    return shown


def compared_arm(results: Results) -> str:
    """Return the arm that is shown beside the baseline: the last."""
    return ([arm for arm in results.arms if arm != results.baseline] or [results.baseline])[-1]


def worst_first(trust: Mapping[str, Mapping[str, EdgeTrust]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return trust by arm and edge, its rows from the least trusted on, cut where they are many."""

    def of(edge: EdgeTrust) -> dict[str, Any]:
        rows = sorted(edge.rows.items(), key=lambda row: row[1])
        doubted = sum(value < 0.5 for _, value in rows)
        cut = min(max(_MOST_TRUSTED_ROWS, doubted), _MOST_DOUBTED_ROWS)
        return {
            "weighed": edge.weighed,
            "mean": edge.mean(),
            "worst": rows[:cut],
            "others": rows[cut : cut + _MOST_LISTED_ROWS],
            "left_out": max(len(rows) - cut - _MOST_LISTED_ROWS, 0),
            "doubted": edge.doubted,
        }

    return {arm: {name: of(edge) for name, edge in edges.items()} for arm, edges in trust.items()}


def costs(results: Results) -> list[dict[str, Any]]:
    """Return what each arm's networks cost: parameters of a seed, and seconds of all seeds."""
    by_arm: dict[str, list[Any]] = {}
    for timing in results.timings:
        by_arm.setdefault(timing.run.partition("/")[0], []).append(timing)
    table = []
    for arm, timings in by_arm.items():
        networks = max(1, len(timings) // max(1, len(results.seeds)))
        seconds = sum(timing.seconds for timing in timings)
        parameters = [timing.parameters for timing in timings]
        table.append(
            {
                "arm": arm,
                "networks": networks,
                "parameters": None if None in parameters else sum(parameters) // max(1, len(results.seeds)),
                "seconds": seconds,
                "waited": sum(timing.waited_for_data_s for timing in timings) / seconds if seconds else 0.0,
                "validation": sum(timing.validation_s for timing in timings),
            }
        )
    return table


def settings(case: Case) -> list[tuple[str, str]]:
    """Return the case's settings, a line a key; tables of relatedness are in the page already."""
    content = case.model_dump(mode="json", by_alias=True, exclude=_NO_SETTINGS, exclude_none=True)
    for edge in content.get("relatedness", ()):
        edge.pop("table", None)
    for name, task in content["tasks"].items():  # numbers by class: of thousands, a line each
        content["tasks"][name] = {key: _short(value) for key, value in task.items()}
    return [
        (key, text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…")
        for key, value in _flat(content)
        for text in [_text(value)]
    ]


def _short(value: Any) -> Any:
    return f"{len(value):,} entries" if isinstance(value, dict) and len(value) > MOST_OUTPUTS else value


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    items = content.items() if isinstance(content, dict) else ()
    for key, value in items:
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, dict) and value:
            yield from _flat(value, name)
        else:
            yield name, value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_calibrated(results: Results) -> bool:
    """Say whether a validation split chose temperatures."""
    return any(result.calibration is not None for of_arm in results.arms.values() for result in of_arm.values())


def contents(results: Results, shown: Sequence[str], listed: bool, pictures: bool = False) -> list[tuple[str, str]]:
    """Return the page's sections: anchors and titles.

    Args:
        results: the results.
        shown: the sections of figures that hold any.
        listed: whether the confusions are listed.
        pictures: whether images are shown that one arm alone gets right.
    """
    eventful = any(timing.events for timing in results.timings)
    verdicts = any(result.against_best for of_arm in results.arms.values() for result in of_arm.values())
    every = [
        ("results", "Results", True),
        ("verdicts-of", "Did co-training help?", verdicts),
        ("verification-of", "Verification", results.verification is not None),
        ("warnings-of", "Warnings", bool(results.warnings)),
        ("scores", "Scores", "scores" in shown),
        ("confusion", "Confusion", "confusion" in shown or listed),
        ("pictures", "Images", pictures),
        ("relatedness", "Relatedness", "relatedness" in shown),
        ("trust", "Trust", bool(results.trust)),
        ("visible", "As seen in training", "visible" in shown),
        ("losses", "Loss", "losses" in shown),
        ("validation", "Validation", "validation" in shown),
        ("events-of", "What happened", eventful),
        ("mixing", "Mixing", "mixing" in shown),
        ("data", "Data", True),
        ("metrics-of", "All metrics", True),
        ("outputs-of", "By class and label", True),
        ("calibration-of", "Calibration", is_calibrated(results)),
        ("cost", "Time and parameters", True),
        ("settings", "Settings", True),
        ("made", "How this was made", True),
    ]
    return [(anchor, title) for anchor, title, there in every if there]
