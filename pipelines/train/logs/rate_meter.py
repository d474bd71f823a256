"""How fast a run trains, between one look and the next."""

import time
from typing import NamedTuple

from pipelines.train.state import TrainingState


class Rates(NamedTuple):
    """Since the last look: rows a second, and the share of the time that waits for data, in [0, 1]."""

    rows_per_s: float
    data_wait: float


class RateMeter:
    """Compares a run's state with what it was at the last look.

    Args:
        state: of the run, from which it begins or resumes.
        rows_per_step: rows that are counted.
    """

    def __init__(self, state: TrainingState, rows_per_step: float) -> None:
        self._state, self._rows_per_step = state, rows_per_step
        self._look()

    def _look(self) -> None:
        state = self._state
        self._step, self._waited, self._validated = state.step, state.waited_for_data_s, state.validation_s
        self._looked = time.perf_counter()

    def read(self) -> Rates:
        """Return the rates since the last look, which is now."""
        state = self._state
        # Validating is no training: it would show as a drop of the rows a second.
        between = max(1e-9, time.perf_counter() - self._looked - (state.validation_s - self._validated))
        rates = Rates(
            rows_per_s=(state.step - self._step) * self._rows_per_step / between,
            data_wait=min(1.0, (state.waited_for_data_s - self._waited) / between),
        )
        self._look()
        return rates
