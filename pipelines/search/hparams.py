"""TensorBoard's HParams page of a search: a run a trial, with its settings and what it came to."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.base.storage import is_remote, join
from pipelines.search.records import TrialRecord


def write_hparams(folder: str, trials: Sequence[TrialRecord]) -> None:
    """Write event files into ``tensorboard`` below a search's folder, once a trial; on a disk alone.

    Args:
        folder: of the search.
        trials: those that have ended with a score are written.
    """
    if is_remote(folder):
        return
    from tensorboardX import SummaryWriter

    place = Path(join(folder, "tensorboard"))
    for trial in trials:
        name = f"{trial.number:05}"
        if trial.score is None or not trial.has_ended or (place / name).exists():
            continue
        settings = {
            key: value if isinstance(value, (bool, int, float, str)) else str(value)
            for key, value in trial.settings.items()
        }
        metrics = {"score": trial.score} | {f"score/{task}": score for task, score in trial.scores.items()}
        with SummaryWriter(str(place)) as writer:
            writer.add_hparams(settings or {"baseline": trial.name}, metrics, name=name)
