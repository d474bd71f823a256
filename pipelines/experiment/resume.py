"""An experiment from its storage alone, without the case file or the sources: to resume it, or to use it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import parse_yaml
from pipelines.base.storage import is_remote, join, kind_of, parent, read_bytes
from pipelines.blocks.datasets import DataSets, at_root, read_data_sets
from pipelines.blocks.layout import blocks_root
from pipelines.case.case import Case
from pipelines.case.load import load_case, load_content
from pipelines.case.named_code import refuse_named_code
from pipelines.experiment.kept_case import read_content
from pipelines.experiment.layout import CASE_FILE, DATA_SETS, WHO_TRAINS, experiment_folder


def begun_case(run: str, overrides: Sequence[str] = (), *, run_code: bool = False) -> Case:
    """Return the case of an experiment that was begun, by this version of Kindred or an earlier one.

    Args:
        run: the experiment's folder, or one below it.
        overrides: ``training.workers=1`` and other settings that do not make it another experiment.
        run_code: whether code that the case in the folder names, ``package.module:callable``, may be imported and
            called. Whoever wrote the folder chose it.

    Raises:
        UserError: there is no experiment, an override makes it another one, or it names code and ``run_code`` is False.
    """
    folder = _experiment_at(run)
    if folder is None:
        raise UserError(
            f"RUN: found {run!r}, and no {CASE_FILE} there or in a folder above; expected the folder of an "
            "experiment, STORAGE/CASE-FINGERPRINT"
        )
    file = join(folder, CASE_FILE)
    content = _content_of(folder, file)
    if not run_code:
        refuse_named_code(content, file)

    def load(changes: Sequence[str]) -> Case:
        return load_content(content, file, changes, check_paths=False)

    case = load(overrides)
    as_begun = load(()) if overrides else case
    case, as_begun = (_moved(of, parent(folder)) for of in (case, as_begun))
    if experiment_folder(case) != experiment_folder(as_begun):
        right = ", ".join(f"training.{key}" for key in WHO_TRAINS)
        raise UserError(
            f"--set: these settings make another experiment than {folder}; expected changes of "
            f"{right}, logging, evaluation and storage.blocks alone"
        )
    return case.of_experiment(folder)


def find_case(name: str, overrides: Sequence[str] = (), *, run_code: bool = False) -> Case:
    """Return the case in a case file, or that of an experiment's folder (a path or a URL), for what reads alone.

    Args:
        name: the file or the folder.
        overrides: as for :func:`begun_case`.
        run_code: whether code that the folder's case names may be run; what the file names is run.

    Raises:
        UserError: there is neither, or it is wrong, or the folder names code and ``run_code`` is False.
    """
    if is_remote(name) or Path(name).is_dir():
        return begun_case(name, overrides, run_code=run_code)
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
    return at_root(data_sets, blocks_root(case))


def _moved(case: Case, path: str) -> Case:
    """Return a case whose storage lies elsewhere now; blocks that lay below it were moved along."""
    below = case.storage.path.rstrip("/") + "/"
    blocks = case.storage.blocks
    if blocks is not None and blocks.startswith(below):
        blocks = join(path, *blocks.removeprefix(below).split("/"))
    return case.model_copy(update={"storage": case.storage.model_copy(update={"path": path, "blocks": blocks})})


def _content_of(folder: str, file: str) -> Mapping[str, Any]:
    """Return what the case of an experiment's folder holds, as plain values."""
    text = read_bytes(file)
    if (kept := read_content(folder, text)) is not None:
        return kept
    try:
        content = parse_yaml(text.decode(), file)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: found {type(content).__name__}; expected a mapping with the keys of a case")
    return content


def _experiment_at(run: str) -> str | None:
    """Return the folder of a case.yaml, here or above; of a URL, here alone."""
    if is_remote(run):
        return run if kind_of(join(run, CASE_FILE)) == "file" else None
    path = Path(run).absolute()
    return next((str(folder) for folder in (path, *path.parents) if (folder / CASE_FILE).is_file()), None)
