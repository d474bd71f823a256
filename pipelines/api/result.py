"""What a case came to, for a program and a notebook."""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.base.errors import UserError
from pipelines.base.storage import join, read_bytes
from pipelines.case.case import Case
from pipelines.evaluate.outcome import Outcome
from pipelines.evaluate.predictions import PREDICTIONS
from pipelines.evaluate.results import Results
from pipelines.report.results_table import results_table
from pipelines.report.units import difference_text, has_unit, interval_text, score_text
from pipelines.use.find_model import files_of_arm
from pipelines.use.model import Model

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Result:
    """What a case came to: scores, predictions and models.

    Attributes:
        case: the case.
        outcome: results.json and where things lie.
    """

    case: Case
    outcome: Outcome

    @property
    def results(self) -> Results:
        """All of results.json."""
        return self.outcome.results

    @property
    def folder(self) -> str:
        """The experiment's folder, a path or URL."""
        return self.outcome.folder

    @property
    def report(self) -> str | None:
        """The HTML report."""
        return self.outcome.report

    @cached_property
    def table(self) -> "pd.DataFrame":
        """Scores: a row a task and arm, with the difference to the baseline, its interval and what it says."""
        import pandas as pd

        rows = []
        for arm, of_arm in self.results.arms.items():
            for task, result in of_arm.items():
                d = result.difference
                rows.append(
                    {
                        "task": task,
                        "arm": arm,
                        "metric": result.primary_metric,
                        "score": result.mean(),
                        "deviation": result.deviation(result.primary_metric),
                        "difference": None if d is None else d.value,
                        "low": None if d is None else d.low,
                        "high": None if d is None else d.high,
                        "verdict": None if d is None else d.verdict,
                    }
                )
        frame = pd.DataFrame(rows).set_index(["task", "arm"])
        return frame.astype(dict.fromkeys(("difference", "low", "high"), float)).sort_index(
            level=0, sort_remaining=False
        )

    @cached_property
    def predictions(self) -> "pd.DataFrame":
        """What every arm says of every test input, beside the truth: predictions.parquet."""
        import pyarrow.parquet as pq

        return pq.read_table(io.BytesIO(read_bytes(join(self.folder, PREDICTIONS)))).to_pandas()

    def plot(self) -> "Figure":
        """Return a figure of the scores by task: the mean over seeds, and the seeds' own."""
        from matplotlib.figure import Figure

        tasks, arms = self.results.tested, list(self.results.arms)
        figure = Figure(figsize=(3.2 * len(tasks) + 1.6, 0.42 * len(arms) + 1.2), layout="constrained")
        axes = figure.subplots(1, len(tasks), squeeze=False, sharey=True)[0]
        for axis, task in zip(axes, tasks, strict=True):
            for place, arm in enumerate(arms):
                if (result := self.results.arms[arm].get(task)) is None:
                    continue
                seeds = [value for value in result.metrics[result.primary_metric] if value is not None]
                axis.plot(seeds, [place] * len(seeds), "o", color="C0", alpha=0.35, markersize=4)
                axis.plot([result.mean()], [place], "|", color="C3", markersize=16, markeredgewidth=2)
            axis.set_title(task, fontsize=10)
            axis.set_xlabel(
                next(iter(self.results.of_task(task).values())).primary_metric.replace("_", " "), fontsize=9
            )
            axis.set_yticks(range(len(arms)), arms, fontsize=9)
            axis.grid(axis="x", alpha=0.3)
        axes[0].invert_yaxis()
        return figure

    def model(self, arm: str = "co-trained", seed: int | None = None, *, ensemble: bool = False) -> Model:
        """Return an arm's trained model.

        Args:
            arm: the arm.
            seed: the run's seed; the best on the validation split by default.
            ensemble: all seeds: the mean of their probabilities.

        Raises:
            UserError: there is no such arm or seed.
        """
        if ensemble and seed is not None:
            raise UserError(f"model: found seed={seed} and ensemble=True; expected one of the two")
        return Model(files_of_arm(self.case, arm, seed, ensemble=ensemble), run_code=True)

    def __str__(self) -> str:
        return results_table(self.results)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: scores in the rows of the tasks, differences in points."""

        def cell(result: Any) -> str:
            if result is None:
                return ""
            metric = result.primary_metric
            words = score_text(result.mean(), metric)
            if (d := result.difference) is None:
                return words
            mark = {"better": "▲", "worse": "▼"}.get(d.verdict, "")
            return f"{words}<br><small>{difference_text(d.value, metric)} {interval_text(d, metric)} {mark}</small>"

        from html import escape

        arms = self.results.arms
        head = "".join(f"<th>{escape(arm)}</th>" for arm in arms)
        rows = "".join(
            f"<tr><th>{escape(task)}</th>"
            + "".join(f"<td>{cell(of_arm.get(task))}</td>" for of_arm in arms.values())
            + "</tr>"
            for task in self.results.tested
        )
        metrics = [one.primary_metric for of_arm in arms.values() for one in of_arm.values()]
        units = ", of errors in the labels' unit" if any(map(has_unit, metrics)) else ""
        words = (
            f"{escape(self.results.case)}: mean over {len(self.results.seeds)} seeds; difference to "
            f"{escape(self.results.baseline)} in points{units} [{round(100 * self.results.confidence)} % interval]"
        )
        return f"<table><caption>{words}</caption><tr><th></th>{head}</tr>{rows}</table>"
