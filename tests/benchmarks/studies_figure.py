"""Draw docs/studies.png: what every study came to, from the results.json of each.

    python -m tests.benchmarks.studies_figure STORAGE/study-*/results.json --out docs/studies.png

A row a study: on the left every seed's accuracy of the main task, alone and beside the extra task, with their means; on
the right the difference in points with its 95 % interval. The studies that gain most stand on top.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

ALONE, BESIDE, INK = "#9ca3af", "#2563eb", "#374151"
WORDS = {"representation-bias": "representation bias\n(share by the common half)"}


def row_of(file: Path) -> dict[str, Any]:
    """Return a study's name, its accuracies by seed of both arms, and the difference in points with its interval."""
    results = json.loads(file.read_text())
    main = results["main_task"]
    alone, beside = (results["arms"][arm][main] for arm in ("single-task", "multi-task"))
    metric = alone["primary_metric"]
    seeds = [of["metrics"][metric] for of in (alone, beside)]
    d = beside["difference"]
    interval = [100 * d[key] for key in ("value", "low", "high")] if d else None
    gain = interval[0] if interval else 100 * (statistics.fmean(seeds[1]) - statistics.fmean(seeds[0]))
    name = results["case"].removeprefix("study-")
    return {"name": name, "seeds": seeds, "interval": interval, "gain": gain}


def draw(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the figure."""
    rows = sorted(rows, key=lambda row: row["gain"])
    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.42 * len(rows) + 1.1), sharey=True, layout="constrained")
    for y, row in enumerate(rows):
        for seeds, colour, step in zip(row["seeds"], (ALONE, BESIDE), (0.14, -0.14), strict=True):
            left.plot(seeds, [y + step] * len(seeds), "o", color=colour, markersize=3.5, alpha=0.5, markeredgewidth=0)
            left.plot([statistics.fmean(seeds)] * 2, [y + step - 0.13, y + step + 0.13], color=colour, linewidth=2.4)
        if row["interval"] is None:
            right.plot(row["gain"], y, "o", color=INK, markersize=4, fillstyle="none")
            continue
        value, low, high = row["interval"]
        colour = "#15803d" if low > 0 else "#b91c1c" if high < 0 else INK
        errors = [[max(value - low, 0)], [max(high - value, 0)]]
        right.errorbar(value, y, xerr=errors, fmt="o", color=colour, markersize=4, capsize=3)
    names = [WORDS.get(row["name"], row["name"].replace("-", " ")) for row in rows]
    left.set_yticks(range(len(rows)), names)
    left.set_title("accuracy of the main task, a dot a seed")
    right.axvline(0, color=INK, linewidth=1)
    right.set_title("difference in points, 95 % interval")
    for axes in (left, right):
        axes.grid(axis="x", color="#e5e7eb", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    handles = [
        plt.Line2D([], [], color=colour, marker="o", markersize=4, linewidth=2, label=label)
        for colour, label in ((ALONE, "single-task"), (BESIDE, "multi-task"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(out, dpi=130)


def main() -> None:
    """Read the files, the last of a study's, and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/studies.png"))
    given = parser.parse_args()
    rows = {row["name"]: row for row in map(row_of, given.files)}
    draw(list(rows.values()), given.out)
    print(f"{given.out}: {len(rows)} studies")


if __name__ == "__main__":
    main()
