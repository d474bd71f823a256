"""An experiment from its storage alone, without the case file or the sources: to resume it, or to use it."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote, join, kind_of, parent, read_bytes
from pipelines.blocks.datasets import DataSets, read_data_sets
from pipelines.blocks.layout import blocks_root
from pipelines.case.case import Case
from pipelines.case.load import load_case, load_content
from pipelines.experiment.kept_case import read_content
from pipelines.experiment.layout import CASE_FILE, DATA_SETS, WHO_TRAINS, experiment_folder


def begun_case(run: str, overrides: Sequence[str] = ()) -> Case:
    """Return the case of an experiment that was begun, by this version of Kindred or an earlier one.

    Args:
        run: the experiment's folder, or one below it.
        overrides: ``training.workers=1`` and other settings that do not make it another experiment.

    Raises:
        UserError: there is no experiment, or an override makes it another one.
    """
    folder = _experiment_at(run)
    if folder is None:
        raise UserError(
            f"RUN: found {run!r}, and no {CASE_FILE} there or in a folder above; expected the folder of an "
            "experiment, STORAGE/CASE-FINGERPRINT"
        )
    text = read_bytes(join(folder, CASE_FILE))
    content = read_content(folder, text)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / CASE_FILE
        file.write_bytes(text)

        def load(changes: Sequence[str]) -> Case:
            if content is None:
                return load_case(str(file), changes, check_paths=False)
            return load_content(content, str(file), changes, check_paths=False)

        case = load(overrides)
        as_begun = load(()) if overrides else case
    storage = case.storage.model_copy(update={"path": parent(folder)})
    case, as_begun = (of.model_copy(update={"storage": storage}) for of in (case, as_begun))
    if experiment_folder(case) != experiment_folder(as_begun):
        right = ", ".join(f"training.{key}" for key in WHO_TRAINS)
        raise UserError(
            f"--set: these settings make another experiment than {folder}; expected changes of "
            f"{right}, logging, evaluation and storage.blocks alone"
        )
    return case.of_experiment(folder)


def find_case(name: str, overrides: Sequence[str] = ()) -> Case:
    """Return the case in a case file, or that of an experiment's folder (a path or a URL), for what reads alone.

    Raises:
        UserError: there is neither, or it is wrong.
    """
    if is_remote(name) or Path(name).is_dir():
        return begun_case(name, overrides)
    return load_case(name, overrides)


def begun_data_sets(case: Case) -> DataSets:
    """Return the datasets that an experiment was begun with, wherever its storage lies now.

    Raises:
        UserError: it has not come so far.
    """
    file = join(experiment_folder(case), DATA_SETS)
    data_sets = read_data_sets(file)
    if data_sets is None:
        raise UserError(
            f"RUN: found no {file}: nothing has been trained; expected an experiment that `kindred run` has begun"
        )
    root = blocks_root(case)
    folders = {name: join(root, folder.rstrip("/").rpartition("/")[2]) for name, folder in data_sets.folders.items()}
    return replace(data_sets, folders=folders)


def _experiment_at(run: str) -> str | None:
    """Return the folder of a case.yaml, here or above; of a URL, here alone."""
    if is_remote(run):
        return run if kind_of(join(run, CASE_FILE)) == "file" else None
    path = Path(run).absolute()
    return next((str(folder) for folder in (path, *path.parents) if (folder / CASE_FILE).is_file()), None)
