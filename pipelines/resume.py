"""Go on with an experiment from nothing but its storage: no case file, no sources."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.case import Case
from pipelines.case_file import load_case
from pipelines.errors import UserError
from pipelines.layout import CASE_FILE, WHO_TRAINS, experiment_folder


def begun_case(run: str, overrides: Sequence[str] = ()) -> Case:
    """Return the case of an experiment that was begun.

    Args:
        run: the experiment's folder, or one below it.
        overrides: ``training.workers=1`` and other settings that do not make it another experiment.

    Raises:
        UserError: there is no experiment, or an override makes it another one.
    """
    given = Path(run).absolute()
    folder = next((one for one in (given, *given.parents) if (one / CASE_FILE).is_file()), None)
    if folder is None:
        raise UserError(
            f"RUN: found {run!r}, and no {CASE_FILE} there or in a folder above; the folder of an experiment, "
            "STORAGE/CASE-FINGERPRINT, is right"
        )
    case = load_case(str(folder / CASE_FILE), overrides, check_paths=False)
    case = case.model_copy(update={"storage": case.storage.model_copy(update={"path": str(folder.parent)})})
    if experiment_folder(case) != folder:
        right = ", ".join(f"training.{key}" for key in WHO_TRAINS)
        raise UserError(
            f"--set: these settings make another experiment than {folder.name}; of an experiment that was begun, "
            f"{right}, logging, evaluation and storage.blocks may be changed"
        )
    return case
