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
from pipelines.evaluate.evaluate import evaluate_folds as _evaluate
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
    """Make the blocks that are not there; with folds those of all, and return the first's."""
    first, *_ = [_ingest(one) for one in _folds(case)]
    return dict(first.manifests)


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
    folds = _ingested(case)
    trained = [_trained(one, data_sets, fresh) for one, data_sets in folds]
    return sum(trained), experiment_folder(_whole(folds))


def evaluate(case: Case) -> Outcome:
    """Score the arms and write results.json."""
    return _evaluated(_ingested(case))


def report(case: Case) -> str:
    """Write the report of results.json."""
    folds = _ingested(case) if case.folds or _is_measured(case) else [(case, None)]
    whole = _whole(folds)
    return write_report(whole, read_results(experiment_folder(whole)), _cases(folds))


def export(case: Case, arm: str, seed: int | None, task: str | None, out: str) -> Path:
    """Write a trained network for use; return its folder."""
    data_sets = ingested(case)
    return export_run(_with_measured(case, data_sets), data_sets, arm, seed, task, Path(out).absolute())


def run(case: Case, fresh: bool) -> Outcome:
    """Do all of it; with folds, fold after fold, and then report over all of them."""
    finished = []
    for one in _folds(case):
        data_sets = _ingest(one)
        one = _with_measured(one, data_sets)
        _trained(one, data_sets, fresh)
        finished.append((one, data_sets))
    return _reported(finished)


def resume(case: Case, allow_version_mismatch: bool) -> Outcome:
    """Resume an experiment, to its report; the sources are not read. A fold is an experiment of its own."""
    data_sets = begun_data_sets(case)
    _trained(case, data_sets, fresh=False, allow_version_mismatch=allow_version_mismatch)
    return _reported([(case, data_sets)])


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


def _folds(case: Case) -> list[Case]:
    """Return the case of every fold; the case alone where it has none."""
    return [case.of_fold(fold) for fold in range(case.folds)] if case.folds else [case]


def _ingested(case: Case) -> list[tuple[Case, DataSets]]:
    """Return the case of every fold, with what is measured, and its datasets as they were ingested."""
    return [(_with_measured(one, data_sets), data_sets) for one in _folds(case) for data_sets in (ingested(one),)]


def _whole(folds: Sequence[tuple[Case, Any]]) -> Case:
    """Return the case whose folder has the results: the one there is, or that of all folds together."""
    return folds[0][0].of_fold(None) if len(folds) > 1 else folds[0][0]


def _cases(folds: Sequence[tuple[Case, Any]]) -> list[Case]:
    return [case for case, _ in folds] if len(folds) > 1 else []


def _evaluated(folds: Sequence[tuple[Case, DataSets]]) -> Outcome:
    results = _evaluate(folds)
    folder = experiment_folder(_whole(folds))
    results.write(folder)
    return Outcome(results, folder, None)


def _reported(folds: Sequence[tuple[Case, DataSets]]) -> Outcome:
    outcome = _evaluated(folds)
    return replace(outcome, report=write_report(_whole(folds), outcome.results, _cases(folds)))
