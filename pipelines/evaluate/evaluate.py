"""Evaluate every arm on the test split: predictions, metrics, and differences with confidence intervals."""

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mtlcore import (
    FusionWeights,
    Multiclass,
    Task,
    as_standardised,
    bootstrapped_delta_m,
    delta_m,
    is_annotated,
)
from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.batches.batch import open_readers
from pipelines.batches.coverage import unseen_classes
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.metrics import metrics_of
from pipelines.evaluate.calibrate import Fitted, calibrations
from pipelines.evaluate.data_summary import summaries
from pipelines.evaluate.on_demand import OnDemand
from pipelines.evaluate.predict_split import in_object_store, predict_split
from pipelines.evaluate.predictions import write_predictions
from pipelines.evaluate.results import (
    Confusion,
    Difference,
    DoubtedCell,
    EdgeTrust,
    Fusion,
    PairSeen,
    Results,
    RunEvent,
    TaskResult,
    Timing,
    git_commit,
    installed_versions,
)
from pipelines.evaluate.scores import score_arms
from pipelines.evaluate.table_arms import (
    fusion_weights,
    open_readings,
    reads_any_table,
    with_every_arm,
)
from pipelines.evaluate.task_test import TaskTest, of_arm, or_null
from pipelines.evaluate.verification import verify
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run, list_runs, read_record
from pipelines.ingest.label_warnings import label_warnings
from pipelines.train.logs.relatedness_log import read_measured
from pipelines.train.trust_record import DOUBTED


def evaluate(case: Case, data_sets: DataSets) -> Results:
    """Evaluate every run of a case on its test split; needs a running Ray and finished runs.

    Writes predictions.parquet into the experiment's folder.

    Raises:
        UserError: a run has not been trained.
    """
    return evaluate_folds([(case, data_sets)])


def evaluate_folds(folds: Sequence[tuple[Case, DataSets]]) -> Results:
    """Evaluate a case over its folds: every input is tested by the networks that have not been trained on it.

    What the folds' networks of one arm and seed predict is put together, so that metrics, differences and intervals are
    over all inputs at once, as of one test split. How an arm predicts through a table is the first fold's.

    Args:
        folds: the case of each fold, or one alone, and its datasets.

    Raises:
        UserError: a run has not been trained.
    """
    case, data_sets = folds[0]
    whole = len(folds) == 1
    tests, ran, every = [], [], []
    for of_fold, sets in folds:
        experiment, runs = experiment_folder(of_fold), list_runs(of_fold)
        check_trained(runs, experiment, sets)
        every.append(_predict_every_arm(of_fold, runs, sets, experiment))
        tests.append(split_tests(of_fold, every[-1][0], sets, "test"))
        _keep(of_fold, tests[-1], sets, every[-1][2], experiment)
        ran += [(run, experiment) for run in runs]
    _, fused, fitted = every[0]
    fitted = fitted if whole else {}  # a fold's temperature is not another's
    tested = tests[0] if whole else pooled_tests(tests, [tasks_of(of_fold) for of_fold, _ in folds])
    experiment = experiment_folder(case if whole else case.of_fold(None))
    tasks = tasks_of(case)
    settings = case.evaluation
    never_seen = [unseen_classes(of_fold, sets) for of_fold, sets in folds]
    unseen = {
        name: kept
        for name, classes in never_seen[0].items()
        if (kept := tuple(c for c in classes if all(c in of.get(name, ()) for of in never_seen)))
    }
    arms = score_arms(case, tested, unseen, fitted)
    for_use = [name for name, task in tasks.items() if not task.auxiliary]
    main_task = settings.main_task or next(name for name in for_use if any(name in of for of in arms.values()))
    base = arms[settings.baseline]
    useless = any(base[name].at_chance for name in for_use if name in base)
    return Results(
        case=case.name,
        experiment=PurePosixPath(experiment.partition("?")[0]).name,
        baseline=settings.baseline,
        main_task=main_task,
        seeds=list(case.training.seeds),
        steps=case.training.steps,
        confidence=settings.confidence,
        arms=arms,
        baselines=[name for name, arm in case.arms.items() if arm.is_baseline],
        fusion=fused,
        unseen_classes={name: list(classes) for name, classes in unseen.items()},
        delta_m={arm: None if useless else _delta_m(of, base, for_use) for arm, of in arms.items()},
        delta_m_difference={
            arm: None if useless else _delta_m_difference(case, tested, arm, for_use) for arm in case.arms
        },
        auxiliary=[name for name, task in tasks.items() if task.auxiliary],
        trust=_trust(case, ran),
        visible_relatedness=_visible_relatedness(ran),
        data_sets=summaries(case, data_sets),
        folds=None if whole else len(folds),
        warnings=label_warnings(case, {name: manifest.labels for name, manifest in data_sets.manifests.items()}),
        confusion=_confusion(case, tested, main_task),
        verification=verify(case, list_runs(case), experiment_folder(case)) if whole else None,
        timings=[
            _timing(run, at, "" if whole else f"fold-{i // (len(ran) // len(folds))}/")
            for i, (run, at) in enumerate(ran)
        ],
        confusions={name: of for name in tasks if (of := _confusion(case, tested, name)) is not None},
        versions=installed_versions(),
        git_commit=git_commit(),
    )


def check_trained(runs: Sequence[Run], experiment: str, data_sets: DataSets) -> None:
    """Refuse to go on where a run has not ended, or was trained on other blocks; tell where it was by another version.

    Raises:
        UserError: names the runs.
    """
    current = provenance(data_sets)
    made_from = {run: (read_record(run.folder(experiment)) or {}).get("provenance") or {} for run in runs}
    missing = [str(run) for run, of in made_from.items() if of.get("blocks") != current["blocks"]]
    if missing:
        raise UserError(
            f"{experiment}: {len(missing)} of {len(runs)} runs are not trained with this case and data "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}); "
            "expected trained runs; `kindred train` with the same case and --set comes first"
        )
    if others := sum(of != current for of in made_from.values()):
        note(
            f"{others} of {len(runs)} runs were trained by another version of Kindred or torch; their weights are used "
            "as they are"
        )


def _predict_every_arm(
    case: Case, runs: Sequence[Run], data_sets: DataSets, experiment: str
) -> tuple[dict[Run, Mapping[str, Tensor]], dict[str, dict[str, Fusion]], dict[str, dict[str, list[Fitted]]]]:
    """Predict the test split by every arm, those that share another's networks included.

    Returns:
        logits by run; how tables were used, by arm and task; and how the arms are calibrated, by arm and task.
    """
    predicted = predict_split(case, runs, data_sets, experiment, "test")
    readings = open_readings(case, data_sets) if reads_any_table(case) else {}
    held_out: Mapping[Run, Mapping[str, Tensor]] = {}
    weights: dict[str, dict[str, list[FusionWeights]]] = {}
    if case.of_split("validation"):
        held_out = predict_split(case, runs, data_sets, experiment, "validation")
        weights = fusion_weights(case, held_out, data_sets, readings)
    every_arm = with_every_arm(case, predicted, readings, weights, in_object_store)
    fitted = fitted_arms(case, with_every_arm(case, held_out, readings, weights, in_object_store), data_sets)
    fused: dict[str, dict[str, Fusion]] = {}
    for name, arm in case.arms.items():
        for task in sorted(set(readings) & set(case.tasks_of_arm(name))) if arm.reads_the_table else ():
            default = [FusionWeights() if arm.fuse else FusionWeights(0.0, 0.0)] * len(case.training.seeds)
            weights_by_seed = weights.get(name, {}).get(task, default)
            fused.setdefault(name, {})[task] = Fusion(
                head=[of_seed.head for of_seed in weights_by_seed],
                table=[of_seed.table for of_seed in weights_by_seed],
                alone=[of_seed.alone for of_seed in weights_by_seed],
                chosen_on="validation" if task in weights.get(name, {}) else "default",
            )
    return every_arm, fused, fitted


def fitted_arms(
    case: Case, held_out: Mapping[Run, Mapping[str, Tensor]], data_sets: DataSets
) -> dict[str, dict[str, list[Fitted]]]:
    """Return the calibration of every arm by task, seed by seed, from predictions of the validation split."""
    if not held_out:
        return {}
    return calibrations(tasks_of(case), split_tests(case, held_out, data_sets, "validation"), case.arms)


def _keep(
    case: Case,
    tested: Mapping[str, TaskTest],
    data_sets: DataSets,
    fitted: Mapping[str, Mapping[str, list[Fitted]]],
    experiment: str,
) -> None:
    readers = open_readers(case, data_sets, "test")
    names = [name for name, reader in readers.items() for _ in range(len(reader))]
    ids = [row_id for reader in readers.values() for row_id in reader.ids]
    temperatures = {
        arm: {task: [of_seed.temperature for of_seed in of_seeds] for task, of_seeds in of_tasks.items()}
        for arm, of_tasks in fitted.items()
    }
    write_predictions(experiment, tasks_of(case), tested, (names, ids), temperatures)


def split_tests(
    case: Case,
    predicted: Mapping[Run, Mapping[str, Tensor]],
    data_sets: DataSets,
    split: str,
) -> dict[str, TaskTest]:
    """Pair predictions of a split with its labels, task by task, over the inputs annotated for the task."""
    readers = open_readers(case, data_sets, split)
    order = {seed: i for i, seed in enumerate(case.training.seeds)}
    tests = {}
    for task in case.tasks:
        labels = torch.from_numpy(np.concatenate([reader.labels(task) for reader in readers.values()]))
        annotated = is_annotated(labels).reshape(len(labels), -1).any(dim=1)
        if not annotated.any():
            continue  # an auxiliary task, which needs no labels to test on
        serving = sorted((run for run in predicted if task in run.tasks), key=lambda run: (run.arm, order[run.seed]))
        chosen = slice(None) if annotated.all() else annotated
        logits = OnDemand({run: partial(_logits, predicted[run], task, chosen) for run in serving})
        tests[task] = TaskTest(annotated.nonzero().flatten(), labels[annotated], logits)
    return tests


def _logits(of_run: Mapping[str, Tensor], task: str, rows: slice | Tensor) -> Tensor:
    return of_run[task][rows]


def pooled_tests(folds: Sequence[Mapping[str, TaskTest]], tasks: Sequence[Mapping[str, Task]]) -> dict[str, TaskTest]:
    """Put the tests of several folds together, run by run; an input stands in one fold's test alone.

    Args:
        folds: by fold and task.
        tasks: by fold; a fold's numbers are standardised by its own training rows.
    """
    pooled = {}
    for name in (name for name in folds[0] if all(name in of for of in folds)):
        rows, start = [], 0
        for of in folds:
            rows.append(of[name].rows + start)
            start += int(max((int(test.rows.max()) + 1 for test in of.values()), default=0))
        of_folds = [of[name].logits for of in folds]
        logits = OnDemand({run: partial(_pooled, of_folds, run, [of[name] for of in tasks]) for run in of_folds[0]})
        pooled[name] = TaskTest(torch.cat(rows), torch.cat([of[name].labels for of in folds]), logits)
    return pooled


def _pooled(of_folds: Sequence[Mapping[Run, Tensor]], run: Run, tasks: Sequence[Task]) -> Tensor:
    """Return what the folds' networks of one arm and seed predict, as the first fold's task would have it."""
    return torch.cat([as_standardised(of[run], task, tasks[0]) for of, task in zip(of_folds, tasks, strict=True)])


def _delta_m(arm: dict[str, TaskResult], baseline: dict[str, TaskResult], for_use: Sequence[str]) -> float | None:
    tasks = [task for task in for_use if task in arm and task in baseline]
    if not tasks:
        return None
    scores, of_baseline = ({task: of[task].mean() for task in tasks} for of in (arm, baseline))
    if any(score < 0 for score in of_baseline.values()):
        return None
    errors = [task for task in tasks if baseline[task].lower_is_better]
    return or_null(delta_m(scores, of_baseline, lower_is_better=errors))


def _delta_m_difference(
    case: Case, tested: Mapping[str, TaskTest], arm: str, for_use: Sequence[str]
) -> Difference | None:
    settings = case.evaluation
    served = set(for_use) & set(case.tasks_of_arm(arm)) & set(case.tasks_of_arm(settings.baseline)) & set(tested)
    tasks = {name: task for name, task in tasks_of(case).items() if name in served}
    if arm == settings.baseline or not tasks:
        return None
    interval = bootstrapped_delta_m(
        {name: of_arm(tested[name], arm) for name in tasks},
        {name: of_arm(tested[name], settings.baseline) for name in tasks},
        {name: tested[name].labels for name in tasks},
        {name: tested[name].rows for name in tasks},
        list(tasks.values()), replicates=settings.replicates, confidence=settings.confidence,
        metrics={name: of_task.metric for name, of_task in metrics_of(case).items()},
    )  # fmt: skip
    if math.isnan(interval.value) or math.isnan(interval.low):
        return None
    return Difference(value=interval.value, low=interval.low, high=interval.high)


def _visible_relatedness(ran: Sequence[tuple[Run, str]]) -> dict[str, list[PairSeen]]:
    """Return, by arm of shared networks, what its runs saw of every pair; nothing of an arm where a run did not look.

    Runs that ended before ``logging.relatedness_every`` was changed may have looked at other steps: those that all
    looked at are kept.
    """
    pairs_by_arm: dict[str, list[PairSeen]] = {}
    for arm in dict.fromkeys(run.arm for run, _ in ran if run.network == "shared"):
        seeds = [
            {(m.a, m.b, m.step): m for m in read_measured(run.folder(experiment))}
            for run, experiment in ran
            if run.arm == arm
        ]
        common = [key for key in seeds[0] if all(key in of_seed for of_seed in seeds)]
        pairs_by_arm[arm] = []
        for a, b in dict.fromkeys(key[:2] for key in common):
            steps = [step for *pair, step in common if pair == [a, b]]
            sharing = [[or_null(of_seed[a, b, step].head_sharing) for step in steps] for of_seed in seeds]
            agreement = [[or_null(of_seed[a, b, step].gradient_agreement) for step in steps] for of_seed in seeds]
            pairs_by_arm[arm].append(
                PairSeen(a=a, b=b, steps=steps, head_sharing=sharing, gradient_agreement=agreement)
            )
    return {arm: pairs for arm, pairs in pairs_by_arm.items() if pairs}


def _confusion(case: Case, tested: Mapping[str, TaskTest], main_task: str) -> Confusion | None:
    task = tasks_of(case)[main_task]
    if not isinstance(task, Multiclass):
        return None
    classes, test = len(task.classes), tested[main_task]
    counts = {}
    for arm in (
        arm for arm in case.arms if main_task in case.tasks_of_arm(arm)
    ):  # only pairs that occur: of 10,000 classes there are 10^8
        pairs = torch.cat([test.labels * classes + z.argmax(dim=1) for z in of_arm(test, arm)])
        pair, n = torch.unique(pairs, return_counts=True)
        counts[arm] = [(p // classes, p % classes, k) for p, k in zip(pair.tolist(), n.tolist(), strict=True)]
    return Confusion(task=main_task, counts=counts) if counts else None


def _trust(case: Case, ran: Sequence[tuple[Run, str]]) -> dict[str, dict[str, EdgeTrust]]:
    """Return the mean over seeds of every row's trust, and the cells that are doubted, by arm and edge."""
    by_arm: dict[str, dict[str, EdgeTrust]] = {}
    for arm, settings in case.arms.items():
        records = [read_record(run.folder(experiment)) for run, experiment in ran if run.arm == arm]
        of_seeds = [record["trust"] for record in records if record and record.get("trust")]
        for edge in of_seeds[0] if of_seeds else ():
            by_row = [edges[edge]["rows"] for edges in of_seeds]
            by_arm.setdefault(arm, {})[edge] = EdgeTrust(
                weighed=settings.weighs_by_trust,
                rows={row: statistics.fmean(rows[row] for rows in by_row) for row in by_row[0]},
                doubted=_doubted([edges[edge]["doubted"] for edges in of_seeds]),
            )
    return by_arm


def _doubted(of_seeds: Sequence[Sequence[dict[str, Any]]]) -> list[DoubtedCell]:
    """Return the cells whose mean trust over the seeds is below 0.5, the least trusted first."""
    by_cell: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in (cell for cells in of_seeds for cell in cells):
        by_cell.setdefault((cell["source"], cell["target"]), []).append(cell)
    doubted = []
    for (source, target), cells in by_cell.items():
        trust = (sum(cell["trust"] for cell in cells) + len(of_seeds) - len(cells)) / len(of_seeds)
        means = {key: statistics.fmean(cell[key] for cell in cells) for key in ("table", "observed", "low", "high")}
        doubted.append(DoubtedCell(source=source, target=target, trust=trust, **means))
    return sorted((cell for cell in doubted if cell.trust < DOUBTED), key=lambda cell: cell.trust)


def _timing(run: Run, experiment: str, fold: str = "") -> Timing:
    record = read_record(run.folder(experiment))
    assert record is not None
    return Timing(
        run=f"{fold}{run}",
        seconds=record["seconds"],
        waited_for_data_s=record["waited_for_data_s"],
        workers=record["workers"],
        validation_s=record["validation_s"],
        steps=record["steps"],
        parameters=record.get("parameters"),
        best_step=record["best"]["step"] if record["best"] else None,
        events=[RunEvent(**event) for event in record["events"]],
    )
