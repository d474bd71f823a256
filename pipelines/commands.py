"""The commands as functions of a validated case: ingest, train, evaluate, report, and run, which chains them.

Those that compute need a running Ray, or `ray_on_demand` around them; `inspect`, `report` and `export` need none.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines.base.disk import check_writable
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.ray_session import need_ray
from pipelines.base.storage import is_remote, join, read_bytes, write_whole
from pipelines.batches.measured_labels import is_measured, with_measured_labels
from pipelines.batches.measured_scaling import with_measured_scaling
from pipelines.blocks.datasets import DataSets, write_data_sets
from pipelines.blocks.manifest import Manifest
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.case.load import find_case_file, load_case
from pipelines.evaluate.evaluate import evaluate_folds as _evaluate
from pipelines.evaluate.made_from import made_from
from pipelines.evaluate.outcome import Outcome
from pipelines.evaluate.relate import EstimatedEdge, edges_asked_for
from pipelines.evaluate.relate import relate as _relate
from pipelines.evaluate.results import read_results
from pipelines.evaluate.verification import check_identities
from pipelines.experiment.finished import note_finished
from pipelines.experiment.kept_case import write_case
from pipelines.experiment.layout import DATA_SETS, EXPERIMENT, experiment_folder, sheet_file
from pipelines.experiment.resume import begun_data_sets
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingest as _ingest_labelled
from pipelines.ingest.ingest import ingested
from pipelines.inspection.contact_sheet import draw_sheet
from pipelines.inspection.inspection import Inspection, SheetInfo, SheetTile, inspection_of, open_data_sets
from pipelines.inspection.samples import draw_samples
from pipelines.report.report import TEXT_FORMATS, current_report, write_report, write_tables
from pipelines.search.tune import Tuned, check_tunable
from pipelines.search.tune import tune as _tune
from pipelines.train.launch import train as _train
from pipelines.use.export import export_run
from pipelines.use.label_by_models import label_by_models


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
    if sheet is None and pictures:
        _check_writable(case)
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


def train(case: Case, fresh: bool, extend: bool = False, wait: bool = False) -> tuple[int, str]:
    """Train the runs that are not done; return how many, and the experiment's folder."""
    folds = _ingested(case)
    trained = [_trained(one, data_sets, fresh, extend=extend, wait=wait) for one, data_sets in folds]
    return sum(trained), experiment_folder(_whole(folds))


def evaluate(case: Case) -> Outcome:
    """Score the arms, of a case or of an experiment's folder, and write results.json."""
    return _evaluated(_begun_or_ingested(case))


def report(case: Case, formats: Sequence[str] = ("html",)) -> list[str]:
    """Write the report of results.json, of a case or of an experiment's folder; return the files.

    Args:
        case: the case.
        formats: ``html``, ``md``, ``tex``.

    Raises:
        UserError: there are no results, or a format is none of these.
    """
    known = ("html", *TEXT_FORMATS)
    for name in formats:
        if name not in known:
            raise UserError(f"--format: found {name!r}; expected {', '.join(known)}, or several with commas between")
    measured = case.experiment is None and (case.folds or _is_measured(case))
    folds = _ingested(case) if measured else [(case, None)]
    whole = _whole(folds)
    results = read_results(experiment_folder(whole))
    page = [write_report(whole, results, _cases(folds))] if "html" in formats else []
    return [*page, *write_tables(whole, results, [name for name in formats if name in TEXT_FORMATS])]


def export(case: Case, arm: str, seed: int | None, task: str | None, out: str, formats: Sequence[str] = ()) -> Path:
    """Write a trained arm for use, of a case or of an experiment's folder; return its folder."""
    case, data_sets = _begun_or_ingested(case)[0]
    try:
        results = read_results(experiment_folder(case))
    except UserError:
        results = None  # the model card says that it was not evaluated
    return export_run(case, data_sets, arm, seed, task, Path(out).absolute(), formats=formats, results=results)


def run(
    case: Case,
    fresh: bool,
    extend: bool = False,
    command: tuple[str, Sequence[str]] | None = None,
    wait: bool = False,
) -> Outcome:
    """Do all of it that is not done; with folds, fold after fold, and then report over all of them.

    Args:
        case: the case.
        fresh: train again what is trained.
        extend: go on from the end of shorter runs, whatever the schedule makes of that.
        command: the case's name and the overrides as they were given: the same again is then answered at once.
        wait: where another process trains the experiment, wait until it has ended.
    """
    begun = time.time()
    finished = []
    check_identities(case)
    for one in _folds(case):
        data_sets = _ingest(one)
        measured = _with_measured(one, data_sets)
        _trained(measured, data_sets, fresh, extend=extend, wait=wait)
        finished.append((measured, data_sets))
    outcome = _reported(finished)
    if command is not None:
        read = [place for _, sets in finished for place in (*sets.folders.values(), *sets.read_from)]
        name, overrides = command
        note_finished(
            find_case_file(name), overrides, case.storage.path, case.data_root or "", outcome.folder, read, begun
        )
    return outcome


def resume(case: Case, allow_version_mismatch: bool, wait: bool = False) -> Outcome:
    """Resume an experiment, to its report; the sources are not read. A fold is an experiment of its own."""
    data_sets = begun_data_sets(case)
    _trained(case, data_sets, fresh=False, allow_version_mismatch=allow_version_mismatch, wait=wait)
    return _reported([(case, data_sets)])


def tune(case: Case, extend: int = 0, wait: bool = False) -> Tuned:
    """Search, and write the best configuration as a case file; Ray is not started where nothing is left to do."""
    check_tunable(case)
    data_sets = _ingest(case)
    return _tune(_with_measured(case, data_sets), data_sets, extend, wait)


def confirm(tuned: Tuned) -> Outcome:
    """Run the best case that a search has written, all of its arms: once on the test split."""
    assert tuned.case_file
    if not is_remote(tuned.case_file):
        return run(load_case(tuned.case_file), fresh=False)
    with tempfile.TemporaryDirectory() as scratch:  # a case file is read from a disk
        file = Path(scratch) / "case.yaml"
        file.write_bytes(read_bytes(tuned.case_file))
        case = load_case(str(file))
    return run(case, fresh=False)


def relate(case: Case, edges: Sequence[str] = ()) -> list[EstimatedEdge]:
    """Estimate edges (`from:to`; the case's where none is named) from the single-task networks' predictions."""
    requested = edges_asked_for(case, edges)
    need_ray()
    data_sets = _ingest(case)
    return _relate(_with_measured(case, data_sets), data_sets, requested)


def _ingest(case: Case) -> DataSets:
    """Ask the models that label datasets, and make the blocks that are not there."""
    _check_writable(case)
    label_by_models(case)
    return _ingest_labelled(case)


def _check_writable(case: Case) -> None:
    if not is_remote(case.storage.path):
        check_writable(case.storage.path, "storage.path")


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


def _begun_or_ingested(case: Case) -> list[tuple[Case, DataSets]]:
    """Return a case (of every fold) with what is measured, and its datasets: of an experiment's folder, those that it
    was trained on."""
    return [(case, begun_data_sets(case))] if case.experiment is not None else _ingested(case)


def _trained(
    case: Case,
    data_sets: DataSets,
    fresh: bool,
    allow_version_mismatch: bool = False,
    extend: bool = False,
    wait: bool = False,
) -> int:
    write_case(experiment_folder(case), case)
    write_data_sets(join(experiment_folder(case), DATA_SETS), data_sets)
    runs = json.dumps({"runs": [str(run) for run in list_runs(case)]})
    write_whole(join(experiment_folder(case), EXPERIMENT), runs)
    return _train(case, data_sets, fresh, allow_version_mismatch, extend, wait)


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
    results = _evaluate(folds).model_copy(update={"made_from": _made_from(folds)})
    folder = experiment_folder(_whole(folds))
    results.write(folder)
    return Outcome(results, folder, None)


def _made_from(folds: Sequence[tuple[Case, DataSets]]) -> str | None:
    """Return a fingerprint of all that results depend on; None where a run has not ended."""
    each = [made_from(case, data_sets) for case, data_sets in folds]
    return each[0] if len(each) == 1 else None if None in each else fingerprint(each)


def _reported(folds: Sequence[tuple[Case, DataSets]]) -> Outcome:
    """Evaluate and report what has not been evaluated and reported as it stands."""
    whole = _whole(folds)
    folder, current = experiment_folder(whole), _made_from(folds)
    try:
        outcome = Outcome(read_results(folder), folder, None)
    except UserError:  # none, or of another version
        outcome = _evaluated(folds)
    if outcome.results.made_from != current:
        outcome = _evaluated(folds)
    report = current_report(whole, outcome.results) or write_report(whole, outcome.results, _cases(folds))
    return replace(outcome, report=report)
