"""Render the report from results.json, the runs' histories and the case: one HTML page, and its tables as text."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
from markupsafe import Markup

from mtlcore import Multiclass
from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.batches.batch import open_readers
from pipelines.batches.counted_relatedness import with_counted_tables
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.results import Results
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.resume import begun_data_sets
from pipelines.experiment.run import HISTORY, VALIDATIONS, Run, list_runs
from pipelines.report.formats import as_latex, as_markdown
from pipelines.report.headline import headlines
from pipelines.report.page import (
    MOST_CELLS,
    compared_arm,
    contents,
    costs,
    is_calibrated,
    outputs_shown,
    settings,
    top_confusions,
    worst_first,
)
from pipelines.report.pictures import only_one_right
from pipelines.report.results_table import chance_lines, few_seeds, fusion_lines, unseen_lines
from pipelines.report.units import difference_text, interval_text, score_text
from pipelines.train.lr_schedule import learning_rate

if TYPE_CHECKING:  # matplotlib takes a second to import
    from pipelines.report.figures import ValidationCurve

REPORT, TEMPLATE = "report.html", "report.html.j2"
TEXT_FORMATS = {"md": as_markdown, "tex": as_latex}
MOST_ROWS_OPEN = 30


def current_report(case: Case, results: Results) -> str | None:
    """Return where report.html lies, if it shows these results as this version would."""
    file = join(experiment_folder(case), REPORT)
    try:
        page = read_bytes(file)
    except FileNotFoundError:
        return None
    return file if f'content="{_made_from(case, results)}"'.encode() in page[:4096] else None


def _made_from(case: Case, results: Results) -> str:
    """Return a fingerprint of all that the page depends on."""
    sources = sorted(file for file in Path(__file__).parent.iterdir() if file.suffix in (".py", ".j2", ".css"))
    code = [xxhash.xxh3_128_hexdigest(file.read_bytes()) for file in sources]
    content = case.model_dump(mode="json", by_alias=True)  # as text, a table of thousands of rows takes a minute
    return fingerprint({"code": code, "case": content, "results": results.model_dump(mode="json")})


def write_report(case: Case, results: Results, folds: Sequence[Case] = ()) -> str:
    """Write report.html beside results.json; return its path.

    Args:
        case: the case.
        results: of it, or of all of its folds.
        folds: the case of each fold; none where there are no folds.
    """
    whole, each = case, folds or [case]
    case = each[0]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures, folded = _figures(each, results)
    tasks = tasks_of(case)
    listed = None
    if not figures["confusion"]:
        listed = top_confusions(results, tasks[results.main_task])
    pictures = [] if folds else only_one_right(case, results)
    environment.filters["points"] = lambda value, metric="": difference_text(value, metric)
    environment.filters["interval"] = interval_text
    environment.filters["score"] = lambda value, metric="": score_text(value, metric)
    page = environment.get_template(TEMPLATE).render(
        made_from=_made_from(whole, results),
        case=case,
        results=results,
        tasks=tasks,
        headlines=headlines(results),
        calibrated=is_calibrated(results),
        contents=contents(
            results, [name for name, drawn in figures.items() if drawn], listed is not None, bool(pictures)
        ),
        pictures=pictures,
        figures=figures,
        folded=folded,
        confusions=listed,
        trust=worst_first(results.trust),
        most_cells=MOST_CELLS,
        costs=costs(results),
        settings=settings(case),
        shown=outputs_shown(results),
        few_seeds=few_seeds(len(results.seeds)),
        verdicts=[
            (arm, task, result.against_best)
            for arm, of_arm in results.arms.items()
            for task, result in of_arm.items()
            if result.against_best is not None
        ],
        asides=[*chance_lines(results), *unseen_lines(results), *fusion_lines(results)],
        eventful=[timing for timing in results.timings if timing.events],
        stopped_early=any((timing.steps or results.steps) < results.steps for timing in results.timings),
    )
    file = join(experiment_folder(whole), REPORT)
    write_whole(file, page)
    return file


def write_tables(case: Case, results: Results, formats: Sequence[str]) -> list[str]:
    """Write the report's tables as ``md`` and ``tex`` beside results.json; return their paths."""
    written = []
    for name in formats:
        file = join(experiment_folder(case), f"report.{name}")
        write_whole(file, TEXT_FORMATS[name](results))
        written.append(file)
    return written


def _figures(each: Sequence[Case], results: Results) -> tuple[dict[str, list[tuple[str, Markup]]], list[bool]]:
    """Return the figures by section: what each shows, for those who cannot see it, and its SVG.

    And, for every table of relatedness, whether it is so large that it is folded.
    """
    from pipelines.report import figures as draw

    case = each[0]
    tasks = tasks_of(case)
    by_task = {name: results.of_task(name) for name in results.tested}
    colour = draw.colours(list(results.arms))
    window = max(1, case.training.steps // 60)
    sections = {
        "scores": [
            (f"Score of each arm on {name}", draw.score_figure(name, of_task, results.baseline))
            for name, of_task in by_task.items()
        ],
        "losses": [("Training loss by step", draw.loss_figure(_curves(each), window, colour))],
        "validation": [],
        "rate": [],
        "mixing": [("How a batch is mixed", draw.mixing_figure(results.data_sets, results.steps))],
        "relatedness": [],
        "confusion": [],
        "visible": [],
    }
    if validated := _validations(each, results):
        metrics = {name: of_task.primary for name, of_task in metrics_of(case).items()}
        sections["validation"] = [("Validation by step", draw.validation_figure(validated, metrics, colour))]
    rates = [learning_rate(case.training, step) for step in range(case.training.steps)]
    if len(set(rates)) > 1:
        sections["rate"] = [("Learning rate by step", draw.learning_rate_figure(rates))]
    folded = []
    for edge in _counted(case).relatedness:
        R = relatedness_of(edge, tasks)
        trusts = [edges[R.key] for edges in results.trust.values() if R.key in edges]
        doubted = sorted({(cell.source, cell.target) for trust in trusts for cell in trust.doubted})
        svg = draw.relatedness_figure(
            edge.source, edge.target, R.source.outputs, R.target.outputs, R.table.numpy(), doubted
        )
        frames = f"; {len(doubted)} doubted cells are framed" if doubted else ""
        folded.append(max(R.table.shape) > MOST_ROWS_OPEN)
        sections["relatedness"].append((f"Relatedness of {edge.source} to {edge.target}{frames}", svg))
    if results.visible_relatedness:
        arms = list(results.arms)
        sections["visible"] = [
            ("How gradients agree by step", draw.agreement_figure(results.visible_relatedness, arms)),
            ("How far heads share hidden units", draw.sharing_figure(results.visible_relatedness, list(tasks))),
        ]
    main_task = tasks[results.main_task]
    few = isinstance(main_task, Multiclass) and len(main_task.classes) <= draw.MOST_CLASSES_DRAWN
    if results.confusion is not None and isinstance(main_task, Multiclass) and few:
        shown = [
            arm for arm in dict.fromkeys([results.baseline, compared_arm(results)]) if arm in results.confusion.counts
        ]
        svg = draw.confusion_figure(results.confusion, main_task.classes, shown)
        sections["confusion"].append((f"Confusion of {results.main_task}", svg))
    # The SVG is drawn here from checked values; matplotlib escapes the names in it.
    marked = {section: [(shows, Markup(svg)) for shows, svg in drawn] for section, drawn in sections.items()}  # noqa: S704
    return marked, folded


def _counted(case: Case) -> Case:
    if all(edge.counted is None for edge in case.relatedness):
        return case
    return with_counted_tables(case, open_readers(case, begun_data_sets(case), "train"))


def _validations(each: Sequence[Case], results: Results) -> "dict[str, dict[str, list[ValidationCurve]]]":
    """Return what the runs' validations came to, by task and arm; empty where there were none."""
    from pipelines.report.figures import ValidationCurve

    curves: dict[str, dict[str, list[ValidationCurve]]] = {}
    primary = {name: of_task.primary for name, of_task in metrics_of(each[0]).items()}
    best_steps = {timing.run: timing.best_step for timing in results.timings}
    for fold, run, experiment in _runs(each):
        try:
            content = read_bytes(join(run.folder(experiment), VALIDATIONS))
        except FileNotFoundError:
            continue
        validated = pq.read_table(io.BytesIO(content))
        for task in run.tasks:
            values = validated[f"{task}.{primary[task]}"].to_numpy()
            if not np.isnan(values).all():
                curve = ValidationCurve(validated["step"].to_numpy(), values, best_steps.get(f"{fold}{run}"))
                curves.setdefault(task, {}).setdefault(run.arm, []).append(curve)
    return {task: curves[task] for task in each[0].tasks if task in curves}


def _runs(each: Sequence[Case]) -> Iterator[tuple[str, Run, str]]:
    """Yield every run with its experiment's folder, and what its name begins with in results."""
    for number, case in enumerate(each):
        for run in list_runs(case):
            yield f"fold-{number}/" if len(each) > 1 else "", run, experiment_folder(case)


def _curves(each: Sequence[Case]) -> dict[str, list[np.ndarray]]:
    """Return the parts of the loss by ``arm: part``, an array of steps a seed."""
    curves: dict[str, list[np.ndarray]] = {}
    for _, run, experiment in _runs(each):
        content = read_bytes(join(run.folder(experiment), HISTORY))
        history = pq.read_table(pa.BufferReader(content))
        for part in history.column_names:
            if part == "loss" and run.network != "shared":
                continue  # a network of one task has that task's loss alone
            curves.setdefault(f"{run.arm}: {part}", []).append(history[part].to_numpy())
    return curves
