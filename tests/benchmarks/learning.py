"""What co-training gains over everything that needs none, on every shipped case, as one table.

    python tests/benchmarks/learning.py --cifar10 cifar10-images.zip --grocery grocery-store.zip --store learning

Each row of CASES is `kindred run` with some settings, into the folder `--store`: what has been trained there is not
trained again, so the table can be filled over several sittings and a run that was cut short resumes. A case whose
archive is not named is left out. The single-task networks also train on eight times as many class labels, to tell what
co-training is worth in labels. Printed is a line of JSON per task and arm as it comes, and at the end the table: the
mean over seeds of the task's primary metric, its difference to the single-task network with a 95 % interval, and where
it stands against the best arm without co-training. The test split is read by `kindred evaluate` alone.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.wrong_relatedness import (
    ATTRIBUTED,
    LABELLED,
    ROWS,
    TRUTH,
    A,
    B,
    frozen_features,
    images,
)

SEEDS = "training.seeds=[0,1,2,3,4]"
ARMS = (
    "arms={single-task: {networks: one_per_task}, table: {networks: one_per_task, infer: table}, "
    "single-task-fused: {networks: one_per_task, fuse: table}, naive: {matching: none}, "
    "naive-fused: {matching: none, fuse: table}, co-trained: {}, co-trained-fused: {fuse: table}}"
)
ALONE = "arms={single-task: {networks: one_per_task}}"
CIFAR = ["training.steps=400", "datasets.attribute_pictures.select={rows: 8000, start: 500}"]
FEW, EIGHT_TIMES = (
    "datasets.class_pictures.select={rows: 300, start: 0}",
    "datasets.class_pictures.select={rows: 2400, start: 15500}",
)
RESNET = ["network={backbone: resnet_small, widths: [16, 32, 64]}", "training.augmentation={flip: 0.5, crop: 4}"]
# name: the shipped case or that of --features, and its settings
CASES: dict[str, tuple[str, list[str]]] = {
    "digits": ("digits", [ARMS]),
    "frozen features": ("features", [ARMS]),
    "frozen features, 8 x labels, single-task": (
        "features",
        ["datasets.class_rows.source.path=class_2400.npz", ALONE],
    ),
    "CIFAR-10, small CNN": ("cifar10", [*CIFAR, FEW, ARMS]),
    "CIFAR-10, small CNN, 8 x labels, single-task": ("cifar10", [*CIFAR, EIGHT_TIMES, ALONE]),
    "CIFAR-10, residual network, augmentation": ("cifar10", [*CIFAR, FEW, *RESNET, ARMS]),
    "Grocery Store": ("grocery", [ARMS]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="the archive or folder of CIFAR-10's images")
    parser.add_argument("--grocery", help="the archive or folder of the Grocery Store images")
    parser.add_argument("--store", default="learning", help="where everything is kept, to go on from")
    parser.add_argument("--only", help="the rows of CASES whose name holds this")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a further setting for every case")
    given = parser.parse_args()
    archives = {"cifar10": given.cifar10, "features": given.cifar10, "grocery": given.grocery}
    rows: list[tuple[str, ...]] = []
    for name, (case, settings) in CASES.items():
        if given.only and given.only not in name:
            continue
        if case in archives:
            if archives[case] is None:
                print(f"{name}: left out, its archive is not named", file=sys.stderr)
                continue
            if case == "features":
                case = str(features_case(Path(archives[case]), Path(given.store) / "features"))
            else:
                settings = [f"data_root={Path(archives[case]).resolve()}", *settings]
        results = run(case, [f"storage.path={Path(given.store).resolve()}", SEEDS, *settings, *given.settings])
        rows += table_rows(name, results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def features_case(archive: Path, folder: Path) -> Path:
    """Write frozen features of CIFAR-10 as tables of numbers, and a case that trains a small network on them.

    300 rows are labelled with the class, or 2,400 for eight times as many, 8,000 others with eight attributes; 500 rows
    of the test images choose how a table is fused, and the other 1,500 are for the test.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "features.yaml"
    if file.exists():
        return file
    x, y, x_test, y_test = images(archive, folder)
    few, attributed, many = LABELLED, LABELLED + ATTRIBUTED, 8 * LABELLED
    # The class labels of the eight-fold set stand on the rows of the attributes' too: single-task networks share none.
    features, of_test = frozen_features(x, x_test, folder)
    for name, h, classes in (
        ("class_300", features[:few], y[:few]),
        ("class_2400", features[:many], y[:many]),
        ("attributes", features[few:attributed], y[few:attributed]),
        ("validation", of_test[:500], y_test[:500]),
        ("test", of_test[500:], y_test[500:]),
    ):
        columns = {label: TRUTH[classes, i].numpy().astype(int) for i, label in enumerate(B.labels)}
        np.savez(folder / f"{name}.npz", x=h.numpy(), **{"class": np.array(A.classes)[classes.numpy()]}, **columns)
    both = "{class: {from: column, column: class}, attributes: {from: columns}}"
    table = ", ".join(f"{name}: [{', '.join(row.split())}]" for name, row in ROWS.items())
    file.write_text(f"""\
name: cifar10-features
input: {{kind: vector, size: {features.shape[1]}}}
tasks:
  class: {{kind: multiclass, classes: [{", ".join(A.classes)}]}}
  attributes: {{kind: multilabel, labels: [{", ".join(B.labels)}]}}
datasets:
  class_rows: {{source: {{kind: numpy, path: class_300.npz}}, labels: {{class: {{from: column, column: class}}}}}}
  attribute_rows: {{source: {{kind: numpy, path: attributes.npz}}, labels: {{attributes: {{from: columns}}}}}}
  validation_rows: {{source: {{kind: numpy, path: validation.npz}}, labels: {both}, split: validation}}
  test_rows: {{source: {{kind: numpy, path: test.npz}}, labels: {both}, split: test}}
relatedness: [{{from: class, to: attributes, table: {{{table}}}}}]
network: {{backbone: mlp, widths: [128, 128]}}
training:
  steps: 400
  batch_size: 128
  mixing: {{class_rows: 1, attribute_rows: 3}}
  optimizer: {{name: adamw, lr: 0.001}}
  task_weights: {{attributes: {len(B.labels)}}}
  matching: {{ill: {{weight: {len(B.labels)}}}, dm: {{weight: 0.3}}}}
evaluation: {{baseline: single-task, main_task: class}}
""")
    return file


def run(case: str, settings: list[str]) -> dict[str, Any]:
    """Return a case's results, from its run or from the storage."""
    command = [sys.executable, "-m", "pipelines", "run", case, "--json"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{case}: exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer.get("results", answer)  # type: ignore[no-any-return]


def table_rows(name: str, results: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for arm, tasks in results["arms"].items():
        for task, scored in tasks.items():
            metric = scored["primary_metric"]
            values = [value for value in scored["metrics"][metric] if value is not None]
            mean = sum(values) / len(values)
            print(json.dumps({"case": name, "arm": arm, "task": task, "metric": metric, "values": values}), flush=True)
            best = scored.get("against_best")
            against = f"{in_words(best['difference'])} to {best['baseline']}: {best['verdict']}" if best else ""
            rows.append((name, task, metric, arm, f"{mean:.3f}", in_words(scored.get("difference")), against))
    return rows


def in_words(difference: dict[str, float] | None) -> str:
    """Return a difference and its interval in points."""
    if difference is None:
        return ""
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"


if __name__ == "__main__":
    main()
