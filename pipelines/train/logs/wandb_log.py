"""Weights & Biases logging; the mode `disabled` imports nothing."""

import importlib.util
import tempfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote
from pipelines.case.case import Case
from pipelines.experiment.run import Run


def check_wandb(case: Case) -> None:
    """Refuse a case that logs to wandb where wandb is not installed.

    Raises:
        UserError: it is not.
    """
    mode = case.logging.wandb.mode
    if mode != "disabled" and importlib.util.find_spec("wandb") is None:
        raise UserError(
            f"logging.wandb.mode: found {mode!r}, and wandb is not installed; "
            "expected `pip install 'kindred-mtl[wandb]'` to have been run, or mode: disabled"
        )


def _folder(experiment: str) -> str:
    """Return where wandb writes: in the experiment's folder, or, where that is not on a disk, one of its own."""
    if is_remote(experiment):
        return tempfile.mkdtemp(prefix="kindred-wandb-")
    Path(experiment).mkdir(parents=True, exist_ok=True)
    return experiment


def _group_and_name(experiment: str, run: Run) -> tuple[str, str]:
    """Return the experiment and the run; of a search's trials, the search and the trial with its run."""
    place = PurePosixPath(experiment.partition("?")[0])
    if place.parent.name == "trials":
        return place.parent.parent.name, f"trial-{place.name}/{run}"
    return place.name, str(run)


class MetricsLog:
    """A wandb run as long as a training run.

    A training run that resumes from a checkpoint continues the same wandb run. Steps that it does again are told
    again, with the same numbers: wandb keeps the first.

    Args:
        case: the case.
        run: the training run.
        experiment: the experiment's folder.
        log_id: names the wandb run.
    """

    def __init__(self, case: Case, run: Run, experiment: str, log_id: str) -> None:
        self._run: Any = None
        if case.logging.wandb.mode != "disabled":
            import wandb

            group, name = _group_and_name(experiment, run)
            self._run = wandb.init(
                mode=case.logging.wandb.mode,
                project=case.logging.wandb.project,
                dir=_folder(experiment),
                group=group,
                name=name,
                id=log_id,
                resume="allow",
                config=case.model_dump(mode="json", by_alias=True),
                settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
            )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Log the metrics after a number of steps."""
        if self._run is not None:
            self._run.log(metrics, step=step)

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)
