"""The commands' work, step by step, each from a validated case; needs a running Ray but for `report`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.atomic import write_atomically
from pipelines.case import Case
from pipelines.case_file import as_yaml
from pipelines.evaluate import evaluate as _evaluate
from pipelines.ingest import ingest as _ingest
from pipelines.ingest import ingested
from pipelines.layout import experiment_folder
from pipelines.manifest import Manifest
from pipelines.report import write_report
from pipelines.results import Results, read_results
from pipelines.train import train as _train
from pipelines.tune import Tuned
from pipelines.tune import tune as _tune


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    results: Results
    folder: Path
    report: Path | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program: results.json's content and where things lie."""
        return {
            "results": self.results.model_dump(mode="json"),
            "experiment": str(self.folder),
            "report": str(self.report) if self.report else None,
        }


def ingest(case: Case) -> dict[str, Manifest]:
    """Make the blocks that are not there."""
    return _ingest(case)


def train(case: Case, fresh: bool) -> tuple[int, Path]:
    """Train the runs that are not done; return how many, and the experiment's folder."""
    folder = experiment_folder(case)
    write_case(case, folder / "case.yaml")
    return _train(case, ingested(case), fresh), folder


def evaluate(case: Case) -> Outcome:
    """Score the arms and write results.json."""
    results = _evaluate(case, ingested(case))
    folder = experiment_folder(case)
    results.write(folder)
    return Outcome(results, folder, None)


def report(case: Case) -> Path:
    """Write the report of results.json."""
    return write_report(case, read_results(experiment_folder(case)))


def run(case: Case, fresh: bool) -> Outcome:
    """Do all of it."""
    ingest(case)
    train(case, fresh)
    outcome = evaluate(case)
    return Outcome(outcome.results, outcome.folder, write_report(case, outcome.results))


def tune(case: Case, verbose: bool = False) -> Tuned:
    """Search, and write the best configuration as a case file."""
    ingest(case)
    return _tune(case, ingested(case), verbose)


def write_case(case: Case, file: Path) -> None:
    """Write a case as a file that `kindred run` takes, complete in itself."""
    write_atomically(file, as_yaml(case))
