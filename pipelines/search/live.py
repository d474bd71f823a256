"""A search as it goes, on standard error: a small table on a terminal, and elsewhere a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.base.encoding import shown
from pipelines.base.logs import is_json
from pipelines.base.progress import Bar
from pipelines.search.search import Summary


class LiveSearch:
    """How far a search is, gone when it has ended.

    Args:
        name: of the case.
        target: how many trials there are to be, baselines and the case as it stands among them.
        waiting: asked while nothing runs: what the trials wait for, an empty text for nothing worth saying.
        console: where to draw; by default standard error, if somebody looks.
        now: the clock, in seconds.
    """

    def __init__(
        self,
        name: str,
        target: int,
        waiting: Callable[[bool], str] | None = None,
        console: Console | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name, self._waiting, self._now = name, waiting, now
        self._begun = now()
        self._ended_before: int | None = None
        self._summary = Summary(target)
        looked_at = console is not None or (sys.stderr.isatty() and not is_json())
        self._bar = None if looked_at else Bar("tune", target, "trials", waiting=waiting)
        self._live = None
        if looked_at:
            console = console or Console(stderr=True)
            self._live = Live(get_renderable=self.table, console=console, refresh_per_second=2, transient=True)
            self._live.start()

    def show(self, summary: Summary) -> None:
        """Say how far it is."""
        if self._ended_before is None:
            self._ended_before = summary.ended
        self._summary = summary
        if self._bar:
            self._bar.show(summary.ended, summary.words())

    def table(self) -> RenderableType:
        """Return what is drawn."""
        of = self._summary
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        words = self._waiting(of.ended > 0) if self._waiting and not of.running else ""
        table.add_row(f"tune {self._name}", "", _text(words or of.phase))
        bar = ProgressBar(total=max(1, of.target), completed=of.ended, width=24)
        table.add_row("trials", f"{of.ended} of {of.target}", bar)
        best, about = (
            (f"{of.best[1]:.4f}", f"{of.best_name}: {of.best_settings}".rstrip(": ")) if of.best else ("-", "")
        )
        table.add_row("best so far", Text(best, style="bold green"), _text(about))
        table.add_row("running", f"{of.running}", "")
        table.add_row("stopped early", f"{of.stopped}", "")
        table.add_row("failed", f"{of.failed}", _text(of.last_failure))
        table.add_row("time left", self._left(), "")
        return table

    def _left(self) -> str:
        """Return the time left at the pace of this command so far; nothing where it says nothing."""
        of = self._summary
        ended = of.ended - (self._ended_before or 0)
        if not ended or of.ended >= of.target:
            return "-"
        return str(timedelta(seconds=round((self._now() - self._begun) * (of.target - of.ended) / ended)))

    def close(self) -> None:
        """Take it off the screen."""
        if self._bar:
            self._bar.close()
        if self._live:
            self._live.stop()


@contextmanager
def live_search(name: str, target: int, waiting: Callable[[bool], str] | None = None) -> Iterator[LiveSearch]:
    """Show a :class:`LiveSearch` while the block runs."""
    live = LiveSearch(name, target, waiting)
    try:
        yield live
    finally:
        live.close()


def _text(words: str) -> Text:
    return Text(shown(words.partition("\n")[0]))
