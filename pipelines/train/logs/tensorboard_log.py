"""TensorBoard event files, in ``tensorboard`` below the run's folder."""

import math
import re
import shutil
from types import TracebackType

from pipelines.base.storage import join

TENSORBOARD = "tensorboard"
_NOT_IN_A_TAG = re.compile(r"[^\w./-]+")


class TensorBoardLog:
    """Event files of a run. What an earlier attempt wrote of steps that are done again is hidden.

    Args:
        folder: the run's, on this machine's disk or a shared one.
        step: the number of steps that are done; with 0, event files of an earlier training are deleted.
    """

    def __init__(self, folder: str, step: int) -> None:
        from tensorboardX import SummaryWriter

        place = join(folder, TENSORBOARD)
        if step == 0:
            shutil.rmtree(place, ignore_errors=True)
        # A name of its own: files are named by the second, and read in the order of their names.
        suffix = f".{step:09d}"
        self._writer = SummaryWriter(place, purge_step=step + 1 if step else None, filename_suffix=suffix)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Log the metrics after a number of steps; those that are not defined are left out."""
        for name, value in metrics.items():
            if not math.isnan(value):
                self._writer.add_scalar(tag_of(name), value, step)
        self._writer.flush()

    def __enter__(self) -> "TensorBoardLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._writer.close()


def tag_of(name: str) -> str:
    """Return a metric's tag: TensorBoard groups by what stands before a slash, and takes no other punctuation."""
    tag = _NOT_IN_A_TAG.sub(" ", name.replace("->", " to ")).strip().replace(" ", "_")
    if tag.startswith("validation/"):
        return tag
    return f"loss/{tag}" if tag not in ("lr", "rows_per_s", "data_wait") else f"training/{tag}"
