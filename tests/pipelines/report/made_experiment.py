"""An experiment whose results are made up, for what reads them: no network is trained, and no Ray is started."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.base.storage import join, write_whole
from pipelines.case.load import as_yaml, load_case
from pipelines.evaluate.results import (
    AgainstBest,
    Confusion,
    DataSetSummary,
    Difference,
    DoubtedCell,
    EdgeTrust,
    Results,
    TaskResult,
    Timing,
)
from pipelines.experiment.layout import CASE_FILE, experiment_folder
from pipelines.experiment.run import HISTORY, RECORD, list_runs

ARMS = ("single-task", "naive", "co-trained")


def made_case(folder, classes=10, traits=6, **training):
    """Load a case of birds with so many classes, whose data nobody looks at."""
    species = [f"species-{i:03d}" for i in range(classes)]
    labels = [f"trait-{i:02d}" for i in range(traits)]
    both = {"species": {"from": "column", "column": "species"}, "traits": {"from": "columns"}}
    case = {
        "name": "birds",
        "data_root": str(folder),
        "input": {"height": 8, "width": 8},
        "tasks": {
            "species": {"kind": "multiclass", "classes": species},
            "traits": {"kind": "multilabel", "labels": labels},
        },
        "datasets": {
            "train": {"source": {"kind": "csv", "path": "train.csv"}, "labels": both},
            "test": {"source": {"kind": "csv", "path": "test.csv"}, "labels": both, "split": "test"},
        },
        "relatedness": [
            {"from": "species", "to": "traits", "table": {s: [labels[i % traits]] for i, s in enumerate(species)}}
        ],
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 40, "batch_size": 16, "seeds": [0, 1, 2]} | training,
        "arms": {"single-task": {"networks": "one_per_task"}, "naive": {"matching": "none"}, "co-trained": {}},
        "storage": {"path": str(folder / "store")},
    }
    file = Path(folder) / "birds.yaml"
    file.write_text(yaml.safe_dump(case))
    return load_case(str(file), check_paths=False)


def made_results(case, gain=0.1, test_hash="t"):
    """Return results in which the co-trained arm gains so much on species and nothing clear on traits."""
    seeds, draw = list(case.training.seeds), np.random.Generator(np.random.PCG64(round(1000 * abs(gain))))
    species, traits = case.tasks["species"].classes, case.tasks["traits"].labels

    def scores(mean):
        return [float(v) for v in np.clip(mean + draw.normal(0, 0.01, len(seeds)), 0, 1)]

    def result(task, arm):
        metric = "accuracy" if task == "species" else "macro_f1"
        value = gain if (task, arm) == ("species", "co-trained") else 0.002
        d = None if arm == "single-task" else Difference(value=value, low=value - 0.02, high=value + 0.02)
        best = AgainstBest(baseline="naive", difference=d, verdict=d.verdict) if arm == "co-trained" else None
        metrics = {metric: scores(0.8 + (value if d else 0)), "calibration_error": scores(0.05)}
        return TaskResult(primary_metric=metric, metrics=metrics, difference=d, against_best=best)

    pairs = [(int(a), int(b), int(n) + 1) for a, b, n in draw.integers(0, len(species), (3 * len(species), 3))]
    rows = {name: float(v) for name, v in zip(species, draw.uniform(0.3, 1, len(species)), strict=True)}
    cells = [
        DoubtedCell(source=species[i], target=traits[0], trust=0.1, table=1, observed=0.1, low=0.05, high=0.2)
        for i in range(min(30, len(species)))
    ]
    return Results(
        case=case.name, experiment=Path(experiment_folder(case)).name, baseline="single-task", main_task="species",
        seeds=seeds, steps=case.training.steps, confidence=0.95,
        arms={arm: {task: result(task, arm) for task in case.tasks} for arm in ARMS},
        baselines=["single-task", "naive"],
        delta_m=dict(zip(ARMS, (0.0, 0.01, 0.06), strict=True)),
        delta_m_difference={arm: Difference(value=0, low=-0.1, high=0.1) for arm in ARMS[1:]} | {ARMS[0]: None},
        trust={"co-trained": {"species->traits": EdgeTrust(weighed=True, rows=rows, doubted=cells)}},
        data_sets={
            name: DataSetSummary(split=of.split, rows=100, quarantined=0, annotated={"species": 100, "traits": 90},
                                 content_hash=test_hash if name == "test" else "h",
                                 rows_per_step=16 if of.split == "train" else None)
            for name, of in case.datasets.items()
        },
        confusion=Confusion(task="species", counts=dict.fromkeys(ARMS, pairs)),
        timings=[
            Timing(run=str(run), seconds=2.0, waited_for_data_s=0.1, workers=1, steps=40, parameters=1234)
            for run in list_runs(case)
        ],
        versions={"torch": "2"}, git_commit=None,
    )  # fmt: skip


def made_experiment(folder, classes=10, gain=0.1, test_hash="t", **training):
    """Write an experiment's case, histories, records and results; return the case and the results."""
    case = made_case(folder, classes, **training)
    experiment = experiment_folder(case)
    write_whole(join(experiment, CASE_FILE), as_yaml(case))
    for run in list_runs(case):
        losses = np.linspace(2, 0.1, case.training.steps)
        parts = {"loss": losses, **dict.fromkeys(run.tasks, losses / 2)}
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(parts), sink)
        write_whole(join(run.folder(experiment), HISTORY), sink.getvalue())
        write_whole(join(run.folder(experiment), RECORD), "{}")
    results = made_results(case, gain, test_hash)
    results.write(experiment)
    return case, results
