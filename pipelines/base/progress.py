"""Progress on standard error: bars on a terminal, and elsewhere, as in a job's log, a line now and then."""

import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread

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

from pipelines.base.logs import is_json, say

_WIDE = 120  # columns of a terminal that has room for a long bar
_LOOK_EVERY_S = 1.0
_WAITS_AFTER_S = 5.0  # without progress

_LINE = re.compile(
    r"(?P<work>[\w ]+): (?P<done>[\d,]+) of (?P<total>[\d,]+) (?P<unit>[\w ]+?) \(\d+ %\)(?:, (?P<left>.+?) left)?"
)


class Lines:
    """Decides when progress is worth a line: every 30 s or 5 %, whichever is first, and none within 5 s of another.

    Args:
        description: the work being done.
        total: how many units there are; None where that is not known.
        unit: what is counted.
        now: the time, in seconds.
    """

    every_s, at_least_s, share = 30.0, 5.0, 0.05

    def __init__(self, description: str, total: int | None, unit: str, now: float) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._begun = self._told = now
        self._told_done = 0

    def line(self, done: int, note: str, now: float) -> str | None:
        """Return the line if one is due."""
        since, more = now - self._told, done - self._told_done
        moved = self._total is not None and more >= self.share * self._total and more > 0
        if since < (self.at_least_s if moved else self.every_s):
            return None
        self._told, self._told_done = now, done
        return self.text(done, note, now)

    def text(self, done: int, note: str, now: float) -> str:
        """Return the line: what, how far, how long still."""
        took = now - self._begun
        if self._total is None:
            said = f"{self._description}: {_duration(took)}"
        else:
            said = (
                f"{self._description}: {done:,} of {self._total:,} {self._unit} ({100 * done // max(1, self._total)} %)"
            )
            if done:
                said += f", {_duration(took * (self._total - done) / done)} left"
        return f"{said}; {note}" if note else said


def read_line(line: str) -> dict[str, str] | None:
    """Return what a line of progress says: ``work``, ``done``, ``total``, ``unit``, ``left``; None of another line."""
    found = _LINE.match(line)
    return {name: text or "" for name, text in found.groupdict().items()} if found else None


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


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
    """A bar, gone when the work is done; lines where nobody looks.

    Args:
        description: the work being done.
        total: how many units there are; None where that is not known.
        unit: what is counted.
        rate: show units a second too.
        console: where to draw; by default standard error, if somebody looks.
        waiting: asked while nothing is done: what the work waits for, an empty text for nothing worth saying.
    """

    def __init__(
        self,
        description: str,
        total: int | None,
        unit: str,
        rate: bool = False,
        console: Console | None = None,
        waiting: Callable[[bool], str] | None = None,
    ) -> None:
        looked_at = console is not None or (sys.stderr.isatty() and not is_json())
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
        self._about = {"work": description, "total": total, "unit": unit}
        self._done, self._note, self._at = 0, "", dict[str, object]()
        self._moved = time.monotonic()
        self._waiting = waiting
        self._lines = None if looked_at else Lines(description, total, unit, self._moved)
        self._ended = Event()
        if self._lines or waiting:
            Thread(target=self._look, daemon=True, name=f"progress of {description}").start()

    def show(self, done: int, note: str = "", at: Mapping[str, object] | None = None) -> None:
        """Say how many units are done, and anything worth a note; ``at``: ``run``, ``rank`` and ``step`` of a run."""
        if done != self._done:
            self._moved = time.monotonic()
        self._done, self._note, self._at = done, note, dict(at or {})
        self._progress.update(self._task, completed=done, note=note)

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_EVERY_S):
            now, note = time.monotonic(), self._note
            if self._waiting and now - self._moved >= _WAITS_AFTER_S and (words := self._waiting(self._done > 0)):
                note = words
                self._progress.update(self._task, note=note)
            if self._lines and (line := self._lines.line(self._done, note, now)) and not self._ended.is_set():
                say(line, **(self._about | {"done": self._done} | self._at))  # type: ignore[arg-type]

    def line(self) -> RenderableType:
        """Return what is drawn."""
        return self._progress.get_renderable()

    def close(self) -> None:
        """Take the bar off the screen."""
        self._ended.set()
        self._progress.stop()


@contextmanager
def bar(
    description: str, total: int | None, unit: str, rate: bool = False, waiting: Callable[[bool], str] | None = None
) -> Iterator[Bar]:
    """Show a :class:`Bar` while the block runs."""
    shown = Bar(description, total, unit, rate, waiting=waiting)
    try:
        yield shown
    finally:
        shown.close()


def note(words: str) -> None:
    """Say something on standard error that one would want to know and need not act on."""
    say(f"note: {words}", level="note")
