"""The monitor: sends a run's metrics to its log, wandb, TensorBoard and the progress line."""

from contextlib import ExitStack
from types import TracebackType

from pipelines.experiment.run import Run
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.logs.jsonl_log import RunLog
from pipelines.train.logs.rate_meter import RateMeter
from pipelines.train.logs.step_metrics import StepMetrics
from pipelines.train.logs.tensorboard_log import TensorBoardLog
from pipelines.train.logs.validation_history import error_columns, scored_columns
from pipelines.train.logs.wandb_log import MetricsLog
from pipelines.train.lr_schedule import learning_rate
from pipelines.train.state import TrainingState


class Monitor:
    """Tells what is seen of a run; only the first worker has one.

    Args:
        work: the case, and whom to tell.
        run: the run.
        state: the run's, from which it begins or resumes.
        rows_per_step: rows of the global batch.
        workers: how many train it.
    """

    def __init__(
        self, work: WorkerAssignment, run: Run, state: TrainingState, rows_per_step: int, workers: int = 1
    ) -> None:
        self._work, self._run, self._state, self._workers = work, run, state, workers
        self._meter, self._scored = RateMeter(state, rows_per_step), scored_columns(work.case, run)
        self._errors = error_columns(work.case)
        self._open = ExitStack()
        self._log = self._open.enter_context(RunLog(work.folder(run), state.log))
        self._log.note(state.events)
        self._wandb = self._open.enter_context(MetricsLog(work.case, run, work.experiment, state.log_id))
        self._tensorboard = None
        if work.case.logging.tensorboard:
            self._tensorboard = self._open.enter_context(TensorBoardLog(work.folder(run), state.step))

    def tell(self, losses: dict[str, float], ended: bool) -> None:
        """Tell how the run stands; ``losses`` are the last step's."""
        state, training = self._state, self._work.case.training
        validations = state.validation
        validated = bool(validations.steps) and validations.steps[-1] == state.step
        rates = self._meter.read()
        metrics = StepMetrics(
            run=str(self._run),
            step=state.step,
            steps=training.steps,
            loss=losses["loss"],
            parts={name: value for name, value in losses.items() if name != "loss"},
            lr=learning_rate(training, state.step - 1),
            rows_per_s=rates.rows_per_s,
            data_wait=rates.data_wait,
            validation=dict(zip(validations.columns, validations.rows[-1], strict=True)) if validated else {},
            score=validations.scores(self._scored, self._errors)[-1] if validated else None,
            ended=ended,
            workers=self._workers,
        )
        self._log.note(state.events)
        self._log.tell(metrics)
        self._wandb.write(state.step, metrics.by_name())
        if self._tensorboard:
            self._tensorboard.write(state.step, metrics.by_name())
        if self._work.on_progress:
            self._work.on_progress(metrics)

    def keep(self) -> None:
        """Take note that a checkpoint is being written."""
        self._log.keep()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, traceback)
