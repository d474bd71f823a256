"""A search as one self-contained HTML page: what came out first, then figures, then every trial."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

import pipelines.report
from pipelines.base.storage import join, write_whole
from pipelines.search.best_case import settings_words
from pipelines.search.importance import importances
from pipelines.search.population import last_value
from pipelines.search.records import SearchRecord, TrialRecord

PAGE, TEMPLATE = "search.html", "search.html.j2"
_MOST_ROWS = 500


def write_page(record: SearchRecord, folder: str, case_file: str | None = None) -> str:
    """Write search.html into the search's folder; return its path.

    Args:
        record: of the search.
        folder: where it lies.
        case_file: the best case, where one was written.
    """
    file = join(folder, PAGE)
    write_whole(file, render_page(record, case_file))
    return file


def render_page(record: SearchRecord, case_file: str | None = None) -> str:
    """Return the page as HTML."""
    # The report's folder too: both pages look alike.
    folders = [Path(__file__).parent, *map(Path, pipelines.report.__path__)]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    trials = sorted(record.trials, key=_order)
    states = ("finished", "stopped", "failed", "running", "waiting")
    return environment.get_template(TEMPLATE).render(
        record=record,
        case_file=case_file,
        figures=_figures(record),
        trials=trials[:_MOST_ROWS],
        left_out=max(0, len(trials) - _MOST_ROWS),
        counts={state: n for state in states if (n := sum(of.state == state for of in record.suggested))},
        seconds=sum(of.seconds for of in record.trials),
        about=_about,
    )


def _figures(record: SearchRecord) -> list[tuple[str, str, Markup]]:
    """Return title, what it shows for those who cannot see it, and SVG."""
    from pipelines.search import figures as draw

    record = _as_they_ended(record)
    found: list[tuple[str, str, str]] = []
    if any(of.score is not None for of in record.suggested):
        found.append(("Score over time", "the score of every trial, and the best so far", draw.score_over_time(record)))
    if len(record.finished) > 1:
        shares = importances(record)
        if shares:
            found.append(("What matters", "the share of each key", draw.importance_figure(shares)))
        keys = [*shares, *(key for key in record.space if key not in shares)]
        found.append(("One key at a time", "the score by each key's value", draw.slices(record, keys)))
        found.append(("All keys at once", "a line for every trial", draw.parallel_coordinates(record)))
        if len(record.tasks) > 1:
            words = "every trial by the scores of two tasks, and the front"
            found.append(("Tasks against each other", words, draw.task_scores(record)))
    if draw.has_curves(record):
        found.append(("While training", "the validation score of trials by step", draw.learning_curves(record)))
    return [(title, words, Markup(drawn)) for title, words, drawn in found]  # noqa: S704


def _as_they_ended(record: SearchRecord) -> SearchRecord:
    """Return a record in which values by step, of a population, are those that held at the end: axes are of numbers."""
    trials = [
        replace(of, settings={key: last_value(value) for key, value in of.settings.items()}) if of.generations else of
        for of in record.trials
    ]
    return replace(record, trials=tuple(trials))


def _order(of: TrialRecord) -> tuple[Any, ...]:
    """Baselines, the case as it stands, then trials: finished ones with the best first."""
    place = {"baseline": 0, "shipped": 1}.get(of.origin, 2)
    state = ("finished", "running", "waiting", "stopped", "failed").index(of.state)
    return place, state if place == 2 else 0, -of.seeds, -(of.score if of.score is not None else -1e9), of.number


def _about(of: TrialRecord) -> str:
    words = settings_words(of.settings)
    if of.state == "failed":
        return f"{words}; failed: {of.reason or 'no reason known'}"
    if of.state == "stopped":
        return f"{words}; stopped early at {of.reason}"
    return words
