"""A progress bar on standard error for whatever takes longer than a second; nothing where nobody looks."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)


class Bar:
    """A bar that appears once a second has passed.

    Args:
        what: what is being done.
        total: how many units there are; None where that is not known.
        unit: what is counted.
    """

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(what, total=total, note="")
        self._begun = time.monotonic()
        self._shown = False

    def show(self, done: int, note: str = "") -> None:
        """Say how many units are done, and anything worth a note."""
        if not self._shown and time.monotonic() - self._begun > 1:
            self._progress.start()
            self._shown = True
        self._progress.update(self._task, completed=done, note=note)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._shown:
            self._progress.stop()


@contextmanager
def bar(what: str, total: int | None, unit: str) -> Iterator[Bar]:
    """Show a :class:`Bar` while the block runs."""
    shown = Bar(what, total, unit)
    try:
        yield shown
    finally:
        shown.close()
