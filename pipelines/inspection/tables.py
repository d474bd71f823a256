"""The tables that `kindred inspect` prints: per dataset, annotation overlap, leakage."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipelines.base.terminal import as_text
from pipelines.inspection.inspection import InspectedDataSet, Inspection, LabelCount, Leak, Reason, TaskCounts
from pipelines.inspection.overlap import Overlap

_MOST_LABELS, _MOST_PLACES = 14, 10  # shown in full; of more, the most and the least frequent
_BAR = 16  # characters
_LONGEST_REASON = 160
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_FEW = 0.1  # a class with less than this share of the largest one's rows is marked
_SPLITS = {"train": "blue", "validation": "yellow", "test": "green"}


def inspection_text(inspection: Inspection) -> str:
    """Return all of it as text for a terminal."""
    return as_text(*_parts(inspection), width=120)


def _parts(inspection: Inspection) -> Iterator[RenderableType]:
    when = (
        "as ingested"
        if inspection.ingested
        else "before the ingest (with these settings): sources are listed, inputs have not been read yet"
    )
    yield Text.assemble((inspection.case, "bold"), f": {when}")
    for warning in inspection.warnings:
        yield Text.assemble(("warning: ", "bold red"), warning)
    for data_set in inspection.data_sets:
        yield _data_set(data_set, inspection.ingested)
    yield _overlaps(inspection.overlap)
    yield _leakage(inspection.leakage)
    if inspection.sheet is None and len(inspection.shape) == 1:
        yield Text("no contact sheet: inputs are vectors, not images")


def _data_set(data_set: InspectedDataSet, ingested: bool) -> Panel:
    title = Text.assemble((data_set.name, "bold"), " ", (data_set.split, _SPLITS[data_set.split]))
    parts: list[RenderableType] = [_counts(data_set, ingested)]
    if len(data_set.sources) > 1:
        parts.append(_places(data_set, ingested))
    parts.append(
        Columns([Padding(_labels(task, data_set.rows - data_set.excluded), (1, 4, 0, 0)) for task in data_set.tasks])
    )
    return Panel(Group(*parts), title=title, title_align="left", border_style="dim", padding=(0, 1))


def _counts(data_set: InspectedDataSet, ingested: bool) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    table.add_row(
        f"{data_set.rows_in:,}", "rows selected from the source" if data_set.selected else "rows in the source"
    )
    if data_set.quarantined or ingested:
        style = "red" if data_set.quarantined else "dim"
        words = "in quarantine" if ingested else "refused: they will be in quarantine"
        table.add_row(Text(f"{data_set.quarantined:,}", style), Text(words, style))
    for reason in data_set.reasons:
        table.add_row("", _reason(reason))
    table.add_row(
        f"{data_set.rows:,}", "in blocks" if ingested else "usable, as far as is known before their inputs are read"
    )
    if data_set.excluded:
        table.add_row(
            Text(f"{data_set.excluded:,}", "yellow"),
            "of them taken out: their inputs stand in later splits too (see leakage)",
        )
    for note, n in sorted(data_set.notes.items(), key=lambda item: -item[1]):
        table.add_row("", Text(f"{n:,} {note}", "yellow"))
    for stop in data_set.stops:
        table.add_row("", Text(f"the ingest will stop: {stop}", "bold red"))
    return table


def _reason(reason: Reason) -> Text:
    says = f": {reason.says}" if reason.says else ""
    says = says if len(says) <= _LONGEST_REASON else f"{says[:_LONGEST_REASON]}…"  # some tell the whole vocabulary
    return Text.assemble((f"{reason.rows:,} {reason.kind}", "red"), (f"  {reason.first}{says}", "dim"))


def _places(data_set: InspectedDataSet, ingested: bool) -> Padding:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("place", "rows", "quarantined" if ingested else "refused", "left"):
        table.add_column(name, justify="left" if name == "place" else "right", overflow="fold")
    places = sorted(data_set.sources.items(), key=lambda place: (-place[1].quarantined, place[0]))
    shown = places if len(places) <= _MOST_PLACES else places[: _MOST_PLACES - 1]
    for name, counts in shown:
        table.add_row(Text(name), f"{counts.rows_in:,}", f"{counts.quarantined:,}", f"{counts.rows:,}")
    if others := [counts for _, counts in places[len(shown) :]]:
        sums = [sum(c.rows_in for c in others), sum(c.quarantined for c in others), sum(c.rows for c in others)]
        table.add_row(Text(f"and {len(others):,} more places", "dim"), *(f"{n:,}" for n in sums))
    return Padding(table, (1, 0, 0, 0))


def _labels(task: TaskCounts, rows: int) -> Group:
    """One line per class or label: in how many rows it holds, the share of those annotated, and a bar."""
    title = Text.assemble((task.task, "bold"), f": {task.annotated:,} of {rows:,} rows annotated")
    if not task.labels:
        return Group(title, _numbers(task))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=36)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, min_width=_BAR)
    partly = any(label.annotated != task.annotated for label in task.labels)
    most = max(label.holds for label in task.labels)
    ordered = list(task.labels)
    cut = len(ordered)
    if len(ordered) > _MOST_LABELS:
        ordered.sort(key=lambda label: -_share(label))
        cut = _MOST_LABELS // 2
    for label in ordered[:cut]:
        table.add_row(*_label(label, task, most, partly))
    if cut < len(ordered):
        table.add_row(Text(f"… {len(ordered) - 2 * cut:,} more", "dim"), "", "", "")
        for label in ordered[-cut:]:
            table.add_row(*_label(label, task, most, partly))
    return Group(title, table, _balance(task))


def _numbers(task: TaskCounts) -> Table:
    """One line per number of a regression task: quartiles and standard deviation."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("", "rows", "least", "25 %", "median", "75 %", "largest", "std"):
        table.add_column(name, justify="left" if not name else "right")
    for number in task.numbers:
        quartiles = [f"{value:.4g}" for value in number.quantiles] or ["-"] * 5
        spread = Text(f"{number.spread:.4g}", "" if number.spread else "red")
        table.add_row(Text(number.name), f"{number.annotated:,}", *quartiles, spread)
    return table


def _label(label: LabelCount, task: TaskCounts, most: int, partly: bool) -> Sequence[Text]:
    annotated = f" of {label.annotated:,}" if partly else ""
    full = label.holds / max(most, 1) if task.kind != "multilabel" else _share(label)
    style = _style(label, task, most)
    return (
        Text(label.label, style),
        Text(f"{label.holds:,}{annotated}", style),
        Text(_percent(_share(label)) if label.annotated else "", "dim"),
        Text.assemble((_bar(full), style or "cyan"), ("▏" if task.kind == "multilabel" else "", "dim")),
    )


def _style(label: LabelCount, task: TaskCounts, most: int) -> str:
    """Mark what can hardly be learned: a class or label that never holds, one that always does, and rare ones."""
    if not label.holds or (task.kind == "multilabel" and label.holds == label.annotated):
        return "red"
    share = label.holds / most if task.kind != "multilabel" else _share(label)
    return "yellow" if share < _FEW else ""


def _balance(task: TaskCounts) -> Text:
    counts = [label.holds for label in task.labels]
    never = sum(not n for n in counts)
    words = Text()
    if task.kind != "multilabel":
        if not never:
            words.append(f"largest {max(counts):,}, smallest {min(counts):,}: {max(counts) / min(counts):.3g} times")
        else:
            words.append(
                f"largest {max(counts):,}; {never} of {len(counts)} classes {'has' if never == 1 else 'have'} no row",
                "red",
            )
        return words
    shares = [_share(label) for label in task.labels if label.annotated]
    if shares:
        words.append(f"of {len(counts)} labels, shares from {_percent(min(shares))} to {_percent(max(shares))}")
    always = sum(0 < label.annotated == label.holds for label in task.labels)
    for n, what in ((never, "never holds" if never == 1 else "never hold"), (always, "always")):
        if n:
            words.append(f"; {n} {what}" if words else f"{n} {what}", "red")
    return words


def _share(label: LabelCount) -> float:
    return label.holds / label.annotated if label.annotated else 0.0


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _bar(full: float) -> str:
    """Return a bar of _BAR characters, blank where it is not full; whatever is more than nothing shows."""
    eighths = max(round(full * 8 * _BAR), 1 if full > 0 else 0)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8])[:_BAR].ljust(_BAR)


def _overlaps(overlaps: Sequence[Overlap]) -> Group:
    """One matrix per split, side by side; its diagonal is what is annotated for a task."""
    by_input = any(overlap.by == "input" for overlap in overlaps)
    how = (
        "counted by decoded input: one that stands in several datasets counts once"
        if by_input
        else "counted by row: which image stands in several datasets is known only after the ingest"
    )
    title = Text.assemble(("overlap", "bold"), f": inputs annotated for one task and for another, {how}")
    return Group(title, Columns([Padding(_overlap(overlap), (1, 4, 1, 0)) for overlap in overlaps]))


def _overlap(overlap: Overlap) -> Group:
    distinct = (
        f": {overlap.inputs:,} different inputs in {overlap.rows:,} rows"
        if overlap.by == "input"
        else f": {overlap.rows:,} rows"
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for task in overlap.tasks:
        table.add_column(task, justify="right", overflow="fold")
    for i, (task, counts) in enumerate(zip(overlap.tasks, overlap.counts, strict=True)):
        cells = [Text(f"{n:,}", "bold" if j == i else "" if n else "dim") for j, n in enumerate(counts)]
        table.add_row(Text(task, "bold"), *cells)
    return Group(Text.assemble((overlap.split, f"bold {_SPLITS[overlap.split]}"), distinct), table)


def _leakage(leaks: Sequence[Leak] | None) -> RenderableType:
    if leaks is None:
        return Text.assemble(("leakage", "bold"), ": known only after the ingest, which compares decoded inputs\n")
    if not leaks:
        return Text.assemble(("leakage", "bold"), ": none; no input stands in a later split too\n")
    table = Table(title="leakage: inputs that stand in a later split too", title_justify="left", title_style="bold")
    table.box = box.SIMPLE_HEAD
    for name in ("dataset", "rows", "also in", "what was done"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for leak in leaks:
        done = "removed from it" if leak.done == "removed" else "kept: it is trained on them all the same"
        if leak.split != "train" and leak.done == "kept":
            done = "kept"
        table.add_row(
            Text(f"{leak.data_set} ({leak.split})"),
            Text(f"{leak.rows:,}", "yellow"),
            Text(f"{'looks like one of ' if leak.near else ''}{leak.also_in} ({leak.also_in_split})"),
            Text(done, "green" if leak.done == "removed" else "red"),
        )
    return table
