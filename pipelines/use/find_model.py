"""MODEL: the folder of an export, or an experiment, of which an arm is exported on the way."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtlcore.exported import Description, ExportedModel, load_exported
from mtlcore.exported.folder import BACKBONE, DESCRIPTION, WEIGHTS
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.storage import join, kind_of, read_bytes
from pipelines.case.case import Case
from pipelines.case.named_code import refuse_named_code
from pipelines.experiment.resume import begun_case, begun_data_sets
from pipelines.use.choose import Choice
from pipelines.use.export import build_export

Files = Mapping[str, bytes]
_DEFAULT_ARM = "co-trained"


def find_model(
    place: str,
    arm: str | None = None,
    seed: int | None = None,
    *,
    ensemble: bool = False,
    run_code: bool = False,
) -> list[Files]:
    """Return the files of an exported model, or of each of an ensemble's.

    Args:
        place: a path or URL: an export's folder, or an experiment's.
        arm: of an experiment, the arm; co-trained by default.
        seed: of an experiment, the run's seed; the best on the validation split by default.
        ensemble: of an experiment, all seeds of the arm.
        run_code: whether code that the place names, ``package.module:callable``, may be imported and called.

    Raises:
        UserError: there is neither, or no such run, or it names code and ``run_code`` is False.
    """
    if kind_of(join(place, DESCRIPTION)) == "file":
        if arm is not None or seed is not None or ensemble:
            raise UserError(f"MODEL: found {place!r}, an export, which is one arm and seed; expected no --arm, --seed")
        optional = join(place, BACKBONE, "config.json")
        files = {name: read_bytes(join(place, name)) for name in (WEIGHTS, DESCRIPTION)}
        if not run_code:
            _refuse_code(place, files[DESCRIPTION])
        return [files | ({f"{BACKBONE}/config.json": read_bytes(optional)} if kind_of(optional) == "file" else {})]
    try:
        case = begun_case(place, run_code=run_code)
    except UserError as error:
        if "no case.yaml" in str(error):
            raise UserError(
                f"MODEL: found {place!r}, and neither {DESCRIPTION} nor case.yaml there; expected the folder of "
                "`kindred export`, or an experiment's, STORAGE/CASE-FINGERPRINT"
            ) from None
        raise
    if ensemble and seed is not None:
        raise UserError(f"--ensemble: found with --seed {seed}; expected one of the two")
    return files_of_arm(case, arm, seed, ensemble=ensemble)


def _refuse_code(place: str, description: bytes) -> None:
    """Raise UserError where an export's backbone is code; who reads its description tells what is wrong with that."""
    try:
        network = Description.from_json(description).network
    except ValueError:
        return
    refuse_named_code({"network": network}, f"MODEL: {join(place, DESCRIPTION)}")


def files_of_arm(case: Case, arm: str | None, seed: int | None, *, ensemble: bool = False) -> list[Files]:
    """Export an arm of an experiment that was begun, in memory; see :func:`find_model`."""
    data_sets = begun_data_sets(case)
    if arm is None:
        if _DEFAULT_ARM not in case.arms:
            raise UserError(f"--arm: missing; expected one of {', '.join(case.arms)}{did_you_mean('', case.arms)}")
        arm = _DEFAULT_ARM
    seeds: Sequence[int | None] = case.training.seeds if ensemble else [seed]
    choices = [Choice.of(case, arm, one, None) for one in seeds]
    return [build_export(case, data_sets, choice).files() for choice in choices]


def load_files(files: Files, *, run_code: bool = False) -> ExportedModel:
    """Load a model from its files, in evaluation mode.

    Raises:
        UserError: they are not what `kindred export` writes, or the backbone is code and ``run_code`` is False.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        try:
            return load_exported(folder, run_code=run_code)
        except (ValueError, OSError) as error:
            words = str(error).replace(f"{folder}/", "").replace(folder, "the export")
            raise UserError(f"MODEL: {words}") from None
