"""The metrics of a step, the same for the progress line, the log, wandb and TensorBoard."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StepMetrics:
    """How a run stands after a step.

    Attributes:
        run: the run's name.
        step: the number of steps that are done.
        steps: how many there are to be.
        loss: of the last step, over the global batch.
        parts: of the loss, before their weights, by name.
        lr: the last step's learning rate.
        rows_per_s: rows of the global batch a second since the last time.
        data_wait: the share in [0, 1] of that time that the first worker waited for data.
        validation: what a validation after this step came to, by ``<task>.<metric>``; empty where there was none.
        score: of that validation, which chooses the best; higher is better.
        ended: whether the run has ended, be it before its last step.
        workers: how many train it now; of an elastic run it changes.
    """

    run: str
    step: int
    steps: int
    loss: float
    parts: Mapping[str, float]
    lr: float
    rows_per_s: float
    data_wait: float
    validation: Mapping[str, float] = field(default_factory=dict)
    score: float | None = None
    ended: bool = False
    workers: int = 1

    def by_name(self) -> dict[str, float]:
        """Return every number, as wandb and TensorBoard name them."""
        return {
            "loss": self.loss,
            **self.parts,
            "lr": self.lr,
            "rows_per_s": self.rows_per_s,
            "data_wait": self.data_wait,
            **{f"validation/{name}": value for name, value in self.validation.items()},
        }
