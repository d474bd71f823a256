"""Whether unfinished runs can be resumed with the installed versions."""

from collections.abc import Sequence

from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.base.storage import join
from pipelines.blocks.datasets import DataSets
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run
from pipelines.train.checkpoints.file import NotACheckpointError
from pipelines.train.checkpoints.store import CHECKPOINTS, checkpoint_names, read_about


def check_resumable(runs: Sequence[Run], experiment: str, data_sets: DataSets, allow_version_mismatch: bool) -> None:
    """Refuse to begin again in silence what was begun by other code or on other data.

    Raises:
        UserError: says what has changed, where the runs stand, and what can be done.
    """
    current = provenance(data_sets)
    for run in runs:
        folder = join(run.folder(experiment), CHECKPOINTS)
        for name in checkpoint_names(folder):
            try:
                about = read_about(folder, name)
            except FileNotFoundError:  # a newer one has taken its place
                continue
            except NotACheckpointError as error:
                note(f"{folder}: {error}; passed over for the one before")
                continue
            changed = [key for key in current if about.provenance.get(key) != current[key]]
            # The newest that can be read decides, as it does when the run is resumed.
            if not changed or (allow_version_mismatch and "blocks" not in changed):
                break
            goes_on = (
                ""
                if "blocks" in changed
                else "`kindred resume RUN --allow-version-mismatch` resumes it, not to the bit; "
            )
            raise UserError(
                f"{folder}: {run} was begun, and stands at step {about.step:,}; since then "
                f"{' and '.join(_WORDS[key] for key in changed)} changed. {goes_on}--fresh begins again"
            )


_WORDS = {
    "training_version": "Kindred's training version has",
    "torch": "the version of torch has",
    "blocks": "the training data have",
}
