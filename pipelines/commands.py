"""The commands as functions of a validated case: ingest, train, evaluate, report, and run, which chains them.

All but `inspect`, `report` and `export` need a running Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.storage import join, write_whole
from pipelines.batches.measured_labels import is_measured, with_measured_labels
from pipelines.batches.measured_scaling import with_measured_scaling
from pipelines.blocks.datasets import DataSets, write_data_sets
from pipelines.blocks.manifest import Manifest
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.case.load import as_yaml
from pipelines.evaluate.evaluate import evaluate as _evaluate
from pipelines.evaluate.relate import EstimatedEdge, edges_asked_for
from pipelines.evaluate.relate import relate as _relate
from pipelines.evaluate.results import Results, read_results
from pipelines.experiment.layout import CASE_FILE, DATA_SETS, experiment_folder, sheet_file
from pipelines.experiment.resume import begun_data_sets
from pipelines.ingest.ingest import ingest as _ingest
from pipelines.ingest.ingest import ingested
from pipelines.inspection.contact_sheet import draw_sheet
from pipelines.inspection.inspection import Inspection, SheetInfo, SheetTile, inspection_of, open_data_sets
from pipelines.inspection.samples import draw_samples
from pipelines.report.report import write_report
from pipelines.search.tune import Tuned, check_tunable
from pipelines.search.tune import tune as _tune
from pipelines.train.launch import train as _train
from pipelines.use.export import export_run


@dataclass(frozen=True)
class Outcome:
    """What a case came to."""

    results: Results
    folder: str
    report: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program: results.json's content and where things lie."""
        return {
            "results": self.results.model_dump(mode="json"),
            "experiment": self.folder,
            "report": self.report,
        }


def ingest(case: Case) -> dict[str, Manifest]:
    """Make the blocks that are not there."""
    return dict(_ingest(case).manifests)


def inspect(case: Case, pictures: int = 12, seed: int = 0, sheet: str | None = None) -> Inspection:
    """Look at the datasets, ingested or not, and draw images of each with their labels.

    Args:
        case: the case.
        pictures: how many of every dataset; 0 for no sheet.
        seed: decides which.
        sheet: where to draw them; by default below storage.path.

    Raises:
        UserError: a source cannot be listed, or the sheet cannot be written where it should be.
    """
    file = _sheet_file(case, sheet)
    opened = open_data_sets(case)
    inspection = inspection_of(case, opened)
    if not pictures or not isinstance(case.input, PictureInput):
        return inspection
    samples = draw_samples(case, opened, pictures, seed)
    stage = "as ingested" if inspection.ingested else "before the ingest, decoded as the ingest would"
    height, width = case.input.height, case.input.width
    about = f"{stage}: {height} × {width} pixels, as the network sees them; drawn at random with seed {seed}"
    drawn = draw_sheet(case.name, about, samples, case.input.shape)
    try:
        write_whole(file, drawn.png)
    except OSError as error:
        raise UserError(f"--sheet: {file} cannot be written: {error.strerror}") from None
    tiles = [
        SheetTile(data_set=group.data_set, id=sample.id, problem=sample.problem)
        for group in samples
        for sample in group.samples
    ]
    return inspection.model_copy(update={"sheet": SheetInfo(file=file, seed=seed, tiles=tuple(tiles))})


def train(case: Case, fresh: bool) -> tuple[int, str]:
    """Train the runs that are not done; return how many, and the experiment's folder."""
    data_sets = ingested(case)
    case = _with_measured(case, data_sets)
    return _trained(case, data_sets, fresh), experiment_folder(case)


def evaluate(case: Case) -> Outcome:
    """Score the arms and write results.json."""
    data_sets = ingested(case)
    return _evaluated(_with_measured(case, data_sets), data_sets)


def report(case: Case) -> str:
    """Write the report of results.json."""
    if _is_measured(case):
        case = _with_measured(case, ingested(case))
    return write_report(case, read_results(experiment_folder(case)))


def export(case: Case, arm: str, seed: int | None, task: str | None, out: str) -> Path:
    """Write a trained network for use; return its folder."""
    data_sets = ingested(case)
    return export_run(_with_measured(case, data_sets), data_sets, arm, seed, task, Path(out).absolute())


def run(case: Case, fresh: bool) -> Outcome:
    """Do all of it."""
    data_sets = _ingest(case)
    case = _with_measured(case, data_sets)
    _trained(case, data_sets, fresh)
    outcome = _evaluated(case, data_sets)
    return replace(outcome, report=write_report(case, outcome.results))


def resume(case: Case, allow_version_mismatch: bool) -> Outcome:
    """Resume an experiment, to its report; the sources are not read."""
    data_sets = begun_data_sets(case)
    _trained(case, data_sets, fresh=False, allow_version_mismatch=allow_version_mismatch)
    outcome = _evaluated(case, data_sets)
    return replace(outcome, report=write_report(case, outcome.results))


def tune(case: Case, verbose: bool = False) -> Tuned:
    """Search, and write the best configuration as a case file."""
    check_tunable(case)
    data_sets = _ingest(case)
    return _tune(_with_measured(case, data_sets), data_sets, verbose)


def relate(case: Case, edges: Sequence[str] = ()) -> list[EstimatedEdge]:
    """Estimate edges (`from:to`; the case's where none is named) from the single-task networks' predictions."""
    requested = edges_asked_for(case, edges)
    data_sets = _ingest(case)
    return _relate(_with_measured(case, data_sets), data_sets, requested)


def _with_measured(case: Case, data_sets: DataSets) -> Case:
    """Return the case with what it says is measured of the training rows: scaling of inputs, and of numbers."""
    return with_measured_labels(with_measured_scaling(case, data_sets), data_sets)


def _is_measured(case: Case) -> bool:
    return "measured" in (case.input.mean, case.input.std) or any(map(is_measured, case.tasks.values()))


def _sheet_file(case: Case, path: str | None) -> str:
    if path is None:
        return sheet_file(case)
    file = Path(path).absolute()
    if file.suffix.lower() != ".png" or file.is_dir():
        raise UserError(f"--sheet: found {path!r}; expected a file that ends in .png")
    return str(file)


def _trained(case: Case, data_sets: DataSets, fresh: bool, allow_version_mismatch: bool = False) -> int:
    write_whole(join(experiment_folder(case), CASE_FILE), as_yaml(case))
    write_data_sets(join(experiment_folder(case), DATA_SETS), data_sets)
    return _train(case, data_sets, fresh, allow_version_mismatch)


def _evaluated(case: Case, data_sets: DataSets) -> Outcome:
    results = _evaluate(case, data_sets)
    folder = experiment_folder(case)
    results.write(folder)
    return Outcome(results, folder, None)
