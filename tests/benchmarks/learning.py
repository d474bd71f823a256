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

SEEDS = "training.seeds=[0,1,2,3,4]"
ALONE = ["arms={single-task: {networks: one_per_task}}"]
# name: the shipped case, and its settings
CASES: dict[str, tuple[str, list[str]]] = {
    "digits": ("digits", []),
    "CIFAR-10, small CNN": ("cifar10", []),
    "CIFAR-10, 8 x labels, single-task": (
        "cifar10",
        ["datasets.class_pictures.select={rows: 4000, start: 15500}", *ALONE],
    ),
    "CIFAR-10, residual network, augmentation": (
        "cifar10",
        ["network={backbone: resnet_small, widths: [16, 32, 64]}", "training.augmentation={flip: 0.5, crop: 4}"],
    ),
    "Grocery Store": ("grocery", []),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar10", help="the archive or folder of CIFAR-10's images")
    parser.add_argument("--grocery", help="the archive or folder of the Grocery Store images")
    parser.add_argument("--store", default="learning", help="where everything is kept, to go on from")
    parser.add_argument("--only", help="the rows of CASES whose name holds this")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a further setting for every case")
    given = parser.parse_args()
    archives = {"cifar10": given.cifar10, "grocery": given.grocery}
    rows: list[tuple[str, ...]] = []
    for name, (case, settings) in CASES.items():
        if given.only and given.only not in name:
            continue
        if case in archives:
            if archives[case] is None:
                print(f"{name}: left out, --{case} names no archive", file=sys.stderr)
                continue
            settings = [f"data_root={Path(archives[case]).resolve()}", *settings]
        results = run(case, [f"storage.path={Path(given.store).resolve()}", SEEDS, *settings, *given.settings])
        rows += table_rows(name, results)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    for row in rows:
        print(" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


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
