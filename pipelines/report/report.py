"""Render the self-contained HTML report from results.json, the runs' histories and the case."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from mtlcore import Multiclass
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
from pipelines.report.results_table import chance_lines, few_seeds, fusion_lines, unseen_lines
from pipelines.report.units import difference_text, interval_text, score_text
from pipelines.train.lr_schedule import learning_rate

if TYPE_CHECKING:  # matplotlib takes a second to import
    from pipelines.report.figures import ValidationCurve

TEMPLATE = "report.html.j2"


def write_report(case: Case, results: Results, folds: Sequence[Case] = ()) -> str:
    """Write report.html beside results.json; return its path.

    Args:
        case: the case.
        results: of it, or of all of its folds.
        folds: the case of each fold; none where there are no folds.
    """
    where, each = experiment_folder(case), folds or [case]
    case = each[0]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["points"] = lambda value, metric="": difference_text(value, metric)
    environment.filters["interval"] = interval_text
    environment.filters["score"] = score_text
    page = environment.get_template(TEMPLATE).render(
        case=case,
        results=results,
        tasks=tasks_of(case),
        figures=_figures(each, results),
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
    file = join(where, "report.html")
    write_whole(file, page)
    return file


def _figures(each: Sequence[Case], results: Results) -> dict[str, list[tuple[str, Markup]]]:
    """Return the figures by section: what each shows, for those who cannot see it, and its SVG."""
    from pipelines.report import figures as draw

    case = each[0]
    tasks = tasks_of(case)
    by_task = {name: results.of_task(name) for name in results.tested}
    window = max(1, case.training.steps // 60)
    sections = {
        "scores": [
            (f"Score of each arm on {name}", draw.score_figure(name, of_task, results.baseline))
            for name, of_task in by_task.items()
        ],
        "losses": [("Training loss by step", draw.loss_figure(_curves(each), window))],
        "validation": [],
        "rate": [],
        "mixing": [("How a batch is mixed", draw.mixing_figure(results.data_sets, results.steps))],
        "relatedness": [],
        "confusion": [],
        "visible": [],
    }
    if validated := _validations(each, results):
        metrics = {name: of_task.primary for name, of_task in metrics_of(case).items()}
        sections["validation"] = [("Validation by step", draw.validation_figure(validated, metrics))]
    rates = [learning_rate(case.training, step) for step in range(case.training.steps)]
    if len(set(rates)) > 1:
        sections["rate"] = [("Learning rate by step", draw.learning_rate_figure(rates))]
    for edge in _counted(case).relatedness:
        R = relatedness_of(edge, tasks)
        trusts = [edges[R.key] for edges in results.trust.values() if R.key in edges]
        doubted = sorted({(cell.source, cell.target) for trust in trusts for cell in trust.doubted})
        svg = draw.relatedness_figure(
            edge.source, edge.target, R.source.outputs, R.target.outputs, R.table.numpy(), doubted
        )
        frames = f"; {len(doubted)} doubted cells are framed" if doubted else ""
        sections["relatedness"].append((f"Relatedness of {edge.source} to {edge.target}{frames}", svg))
    if results.visible_relatedness:
        arms = list(results.arms)
        sections["visible"] = [
            ("How gradients agree by step", draw.agreement_figure(results.visible_relatedness, arms)),
            ("How far heads share hidden units", draw.sharing_figure(results.visible_relatedness, list(tasks))),
        ]
    main_task = tasks[results.main_task]
    if results.confusion is not None and isinstance(main_task, Multiclass):
        served = list(results.confusion.counts)
        last = [arm for arm in served if arm != results.baseline][-1:]
        shown = [*(arm for arm in served if arm == results.baseline), *last]
        svg = draw.confusion_figure(results.confusion, main_task.classes, shown)
        sections["confusion"].append((f"Confusion of {results.main_task}", svg))
    # The SVG is drawn here from checked values; matplotlib escapes the names in it.
    return {section: [(shows, Markup(svg)) for shows, svg in drawn] for section, drawn in sections.items()}  # noqa: S704


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
