"""Progress bars on standard error, shown only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Column
from rich.text import Text

from pipelines.base.encoding import shown

_WIDE = 120  # columns of a terminal that has room for a long bar


class _Rate(ProgressColumn):
    """Units a second since the start, and the time left at that rate: work comes in bursts, a task at a time."""

    def render(self, task: RichTask) -> Text:
        """Return the text of the column."""
        if not task.completed or not task.elapsed or task.total is None:
            return Text("")
        rate = task.completed / task.elapsed
        remaining = timedelta(seconds=round((task.total - task.completed) / rate))
        return Text(f"{rate:,.0f}/s, {remaining} left", style="cyan", no_wrap=True)


class _Note(ProgressColumn):
    """The note, as far as the line has room: the only column that gives way."""

    def render(self, task: RichTask) -> Text:
        """Return the text of the column."""
        return Text(task.fields["note"], style="dim", no_wrap=True, overflow="ellipsis")


class _TimeLeft(TimeRemainingColumn):
    """The time left at the speed of the last half minute."""

    def render(self, task: RichTask) -> Text:
        """Return the text of the column."""
        return Text.assemble(super().render(task), " left", style="cyan", no_wrap=True)


def _whole() -> Column:
    return Column(no_wrap=True)


class Bar:
    """A bar, gone when the work is done.

    Args:
        description: the work being done.
        total: how many units there are; None where that is not known.
        unit: what is counted.
        rate: show units a second too.
        console: where to draw; by default standard error, if somebody looks.
    """

    def __init__(
        self, description: str, total: int | None, unit: str, rate: bool = False, console: Console | None = None
    ) -> None:
        looked_at = console is not None or sys.stderr.isatty()
        console = console or Console(stderr=True)
        counted: tuple[ProgressColumn, ...] = (
            (
                BarColumn(bar_width=24 if console.width >= _WIDE else 8, table_column=_whole()),
                MofNCompleteColumn(table_column=_whole()),
                TextColumn(unit),
            )
            if total is not None
            else ()
        )
        timing = _Rate if rate else _TimeLeft if total is not None else TimeElapsedColumn
        timing_column = timing(table_column=_whole())
        self._progress = Progress(
            SpinnerColumn(table_column=_whole()),
            TextColumn("{task.description}"),
            *counted,
            timing_column,
            _Note(),
            console=console,
            transient=True,
            disable=not looked_at,
        )
        self._task = self._progress.add_task(description, total=total, note="")
        self._progress.start()

    def show(self, done: int, note: str = "") -> None:
        """Say how many units are done, and anything worth a note."""
        self._progress.update(self._task, completed=done, note=note)

    def line(self) -> RenderableType:
        """Return what is drawn."""
        return self._progress.get_renderable()

    def close(self) -> None:
        """Take the bar off the screen."""
        self._progress.stop()


@contextmanager
def bar(description: str, total: int | None, unit: str, rate: bool = False) -> Iterator[Bar]:
    """Show a :class:`Bar` while the block runs."""
    shown = Bar(description, total, unit, rate)
    try:
        yield shown
    finally:
        shown.close()


def note(words: str) -> None:
    """Say something on standard error that one would want to know and need not act on."""
    print(shown(f"note: {words}"), file=sys.stderr)
