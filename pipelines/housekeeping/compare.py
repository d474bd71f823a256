"""`kindred compare A B`: what two or more experiments came to, side by side, and what differs between them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from pydantic import BaseModel, ConfigDict
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mtlcore.metrics.student_t import t_quantile
from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import parse_yaml
from pipelines.base.storage import is_remote, join, kind_of, parent, read_bytes
from pipelines.base.terminal import as_text
from pipelines.evaluate.results import Difference, Results, TaskResult, read_results
from pipelines.experiment.layout import CASE_FILE
from pipelines.report.headline import headlines
from pipelines.report.units import difference_text, interval_text, score_text

_NOT_COMPARED = ("storage", "logging", "tuning", "name")
_MOST_CHANGES, _LONGEST = 30, 60
_STYLES = {"better": "green", "worse": "red", "no clear difference": ""}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Score(_Part):
    """An arm's mean score on a task in one experiment, and its difference to that experiment's baseline."""

    mean: float
    difference: Difference | None


class Row(_Part):
    """A task and an arm: the scores by experiment, in their order, and the change from the first to each other.

    A change has an interval over seeds, paired where the seeds are the same; it is None with one seed, for another
    metric, or where the test data are not the same.
    """

    task: str
    arm: str
    metric: str
    scores: tuple[Score | None, ...]
    changes: tuple[Difference | None, ...]


class Comparison(_Part):
    """Experiments side by side; ``settings`` holds the keys in which their cases differ, with each one's value."""

    experiments: tuple[str, ...]
    came_to: tuple[tuple[str, ...], ...]
    confidence: float
    rows: tuple[Row, ...]
    settings: dict[str, tuple[Any, ...]]
    data: dict[str, tuple[str | None, ...]]


def compare(folders: Sequence[str]) -> Comparison:
    """Put experiments side by side.

    Args:
        folders: two or more experiments' folders, paths or URLs.

    Raises:
        UserError: fewer than two, or one of them has no results.
    """
    if len(folders) < 2:
        raise UserError(f"EXPERIMENT: found {len(folders)}; expected two or more to compare")
    folders = [_folder(given) for given in folders]
    results = [read_results(folder) for folder in folders]
    cases = [_flat(_case(folder)) for folder in folders]
    keys = list(dict.fromkeys(key for case in cases for key in case))
    values = {key: tuple(case.get(key) for case in cases) for key in keys}
    settings = {key: of for key, of in values.items() if len({repr(value) for value in of}) > 1}
    names = list(dict.fromkeys(name for of in results for name in of.data_sets))
    hashes = {
        name: tuple(of.data_sets[name].content_hash if name in of.data_sets else None for of in results)
        for name in names
    }
    pairs = list(dict.fromkeys((task, arm) for of in results for arm, tasks in of.arms.items() for task in tasks))
    tasks = list(dict.fromkeys(task for task, _ in pairs))
    return Comparison(
        experiments=tuple(_name(folder) for folder in folders),
        came_to=tuple(tuple(headlines(of)) for of in results),
        confidence=results[0].confidence,
        rows=tuple(
            _row(task, arm, results) for task in tasks for arm in dict.fromkeys(a for t, a in pairs if t == task)
        ),
        settings=settings,
        data={name: of for name, of in hashes.items() if len(set(of)) > 1},
    )


def _row(task: str, arm: str, results: Sequence[Results]) -> Row:
    found = [of.arms.get(arm, {}).get(task) for of in results]
    first = next(result for result in found if result is not None)
    return Row(
        task=task,
        arm=arm,
        metric=first.primary_metric,
        scores=tuple(None if r is None else Score(mean=r.mean(), difference=r.difference) for r in found),
        changes=tuple(_change(found[0], result, results[0], of) for result, of in zip(found, results, strict=True)),
    )


def _change(a: TaskResult | None, b: TaskResult | None, of_a: Results, of_b: Results) -> Difference | None:
    """Return the change of the primary metric's mean with its interval over seeds, if it says anything."""
    if a is None or b is None or of_a is of_b or a.primary_metric != b.primary_metric:
        return None
    tests = [
        {name: data.content_hash for name, data in of.data_sets.items() if data.split == "test"} for of in (of_a, of_b)
    ]
    values = [[v for v in r.metrics[r.primary_metric] if v is not None] for r in (a, b)]
    if tests[0] != tests[1] or min(map(len, values)) < 2:
        return None
    change = statistics.fmean(values[1]) - statistics.fmean(values[0])
    if of_a.seeds == of_b.seeds and len(values[0]) == len(values[1]):
        deviations = [y - x for x, y in zip(*values, strict=True)]
        error, freedom = statistics.stdev(deviations) / math.sqrt(len(deviations)), len(deviations) - 1
    else:  # Welch's
        parts = [statistics.variance(of) / len(of) for of in values]
        error = math.sqrt(sum(parts))
        ratio = sum(part**2 / (len(of) - 1) for part, of in zip(parts, values, strict=True))
        freedom = max(1, math.floor(sum(parts) ** 2 / ratio)) if ratio else len(values[0]) - 1
    half = t_quantile(0.5 + of_a.confidence / 2, freedom) * error
    return Difference(value=change, low=change - half, high=change + half, lower_is_better=b.lower_is_better)


def _folder(given: str) -> str:
    """Return the experiment's folder: itself, or that of a results.json."""
    folder = parent(given) if given.endswith("results.json") else given
    if kind_of(folder) != "folder":
        raise UserError(f"EXPERIMENT: found {given!r}, and no folder there; expected one of `kindred list`")
    return folder.rstrip("/") if not is_remote(folder) else folder


def _name(folder: str) -> str:
    return folder.partition("?")[0].rstrip("/").rpartition("/")[2]


def _case(folder: str) -> Mapping[str, Any]:
    try:
        case = parse_yaml(read_bytes(join(folder, CASE_FILE)).decode(), join(folder, CASE_FILE))
    except FileNotFoundError:
        return {}
    return {key: value for key, value in case.items() if key not in _NOT_COMPARED} if isinstance(case, dict) else {}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {
        key: inner
        for name, of_name in value.items()
        for key, inner in _flat(of_name, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def comparison_page(compared: Comparison) -> str:
    """Return the tables as an HTML page in the report's style."""
    folders = [Path(__file__).parent, Path(__file__).parents[1] / "report"]
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folders), autoescape=True, trim_blocks=True)
    environment.filters["points"] = lambda value: f"{100 * value:+.1f}"
    letters = _letters(compared)
    return environment.get_template("compare.html.j2").render(compared=compared, letters=letters)


def _letters(compared: Comparison) -> list[str]:
    return [chr(ord("A") + i) for i in range(len(compared.experiments))]


def comparison_text(compared: Comparison) -> str:
    """Return the tables for a terminal."""
    percent = round(100 * compared.confidence)
    letters = _letters(compared)
    head = [
        Text(f"{letter} = {name}" + "".join(f"\n    {line}" for line in lines))
        for letter, name, lines in zip(letters, compared.experiments, compared.came_to, strict=True)
    ]
    table = Table(
        title=f"mean over seeds, difference to each one's own baseline in points [{percent} % interval]",
        title_justify="left",
        caption="A change's interval is over seeds alone, paired where they are the same; none with one seed, or with "
        "other test data.",
        caption_justify="left",
    )
    for name in ("task", "arm", "metric"):
        table.add_column(name)
    for letter in letters:
        table.add_column(letter, justify="right")
    for letter in letters[1:]:
        table.add_column(f"{letter} - A", justify="right")
    for i, row in enumerate(compared.rows):
        last = i + 1 == len(compared.rows) or compared.rows[i + 1].task != row.task
        table.add_row(
            Text(row.task),
            Text(row.arm),
            row.metric.replace("_", "-"),
            *(_score(score, row.metric) for score in row.scores),
            *(_points(change, row.metric) if change else Text("-") for change in row.changes[1:]),
            end_section=last,
        )
    parts: list[RenderableType] = [*head, table]
    if compared.settings:
        parts.append(_changes("settings that differ", letters, compared.settings))
    if compared.data:
        parts.append(_changes("data that differ (content hashes)", letters, compared.data))
    return as_text(*parts)


def _score(score: Score | None, metric: str) -> Text:
    if score is None:
        return Text("-")
    text = Text(score_text(score.mean, metric))
    return text.append("\n").append(_points(score.difference, metric)) if score.difference else text


def _points(difference: Difference, metric: str) -> Text:
    text = f"{difference_text(difference.value, metric)} {interval_text(difference, metric)}"
    return Text(text, _STYLES[difference.verdict])


def _changes(title: str, letters: Sequence[str], changes: Mapping[str, Sequence[Any]]) -> Table:
    more = len(changes) - _MOST_CHANGES
    table = Table(title=title, title_justify="left", caption=f"and {more} more" if more > 0 else None)
    table.add_column("key", overflow="fold")
    for letter in letters:
        table.add_column(letter, overflow="fold")
    for key, values in list(changes.items())[:_MOST_CHANGES]:
        words = ("-" if value is None else str(value) for value in values)
        table.add_row(Text(key), *(Text(w if len(w) <= _LONGEST else f"{w[:_LONGEST]}…") for w in words))
    return table
