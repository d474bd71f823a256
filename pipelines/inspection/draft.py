"""`kindred init`: a commented case file from what lies somewhere, for a person to read and to change."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote, join
from pipelines.case.check_tasks import RESERVED
from pipelines.inspection.look import Found, look
from pipelines.sources.archives import archive_kind

_HELD_OUT = {"validation": 0.2, "test": 0.2}  # of what has no test data
_LEAST_ROWS = 5
_LARGEST_SIDE, _USUAL_SIDE = 128, 64


def draft_case(place: str, out: str) -> str:
    """Write a case file for what lies at a place; return its text.

    Args:
        place: a folder, an archive or a table; a path or URL.
        out: the file to write; must not be there.

    Raises:
        UserError: nothing could be learnt from what lies there, or the file is there.
    """
    file = Path(out)
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out: found {out!r}; expected a file that ends in .yaml")
    if file.exists():
        raise UserError(f"--out: found {out!r}, which is there; expected a new file")
    root, found = look(place.rstrip("/") or "/")
    text = _text(place, root, found, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return text


def _text(place: str, root: str, found: Sequence[Found], file: Path) -> str:
    by_column = bool(found[0].vector)
    found = [one for one in found if bool(one.vector) == by_column]
    classes, labels = _tasks(found)
    names = {old: _name(old, (*classes, *labels)) for old in (*classes, *labels)}
    relative = root if is_remote(root) else os.path.relpath(root, file.absolute().parent)
    lines = [
        f"# Drafted by `kindred init` from {place}. Read it, change it, then:",
        f"#   kindred inspect {file.name}     what is there, as the network will see it",
        f"#   kindred run {file.name}         train, evaluate, report",
        "# Every key: docs/case-file.md.",
        f"name: {_name(file.stem)}",
        f"data_root: {_flow(relative)}",
        "",
        *_input(found, root),
        "",
        "tasks:                      # what is learnt: one class holds (multiclass), or any of the labels (multilabel)",
    ]
    for task, of in classes.items():
        lines += _wrapped(f"  {names[task]}: {{kind: multiclass, classes: ", of)
    for task, of in labels.items():
        lines += _wrapped(f"  {names[task]}: {{kind: multilabel, labels: ", of)
    lines += ["", 'datasets:                   # an empty cell means "not annotated", never "no"']
    for name, one, split, select in _splits(found):
        lines += _data_set(name, one, split, select, names, classes, labels)
    lines += ["", *_relatedness(found, names, classes, labels), "", *_training(found)]
    return "\n".join(lines) + "\n"


def _tasks(found: Sequence[Found]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return the classes and the labels of every task, over all datasets."""
    together: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for one in found:
        for of_task, tasks in zip(together, (one.classes, one.labels), strict=True):
            for task, (outputs, _) in tasks.items():
                of_task[task] = list(dict.fromkeys([*of_task.get(task, []), *outputs]))
    return together


def _name(words: str, others: Iterable[str] = ()) -> str:
    """Return a name that a case file takes."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", words).strip("_-") or "data"
    return f"{name}_label" if name in RESERVED and f"{name}_label" not in others else name


def _splits(found: Sequence[Found]) -> Iterator[tuple[str, Found, str, dict[str, Any]]]:
    """Yield name, dataset, split and selection: tasks without test data have theirs held out of what there is."""
    tested = {task for one in found if one.split == "test" for task in (*one.classes, *one.labels)}
    taken: set[str] = set()
    for one in found:
        name = _name(one.name)
        while name in taken:
            name += "_"
        taken.add(name)
        select: dict[str, Any] = {"where": one.where} if one.where else {}
        if one.split in ("test", "validation") or {*one.classes, *one.labels} <= tested:
            yield name, one, one.split or "train", select
            continue
        start = 0
        held_out = {split: int(share * one.rows) for split, share in _HELD_OUT.items()}
        if one.rows < _LEAST_ROWS:
            raise UserError(
                f"{one.source['path']}: found {one.rows} rows and no test data; expected {_LEAST_ROWS} or more"
            )
        for split, rows in ({"train": one.rows - sum(held_out.values())} | held_out).items():
            if rows:
                yield f"{name}_{split}", one, split, select | {"rows": rows, "start": start}
            start += rows


def _data_set(
    name: str, one: Found, split: str, select: dict[str, Any], names: dict[str, str], classes: Any, labels: Any
) -> Iterator[str]:
    source = {key: value for key, value in one.source.items() if key != "vector_columns"}
    yield f"  {name}:  # {one.rows:,} rows at {one.source['path']}"
    if one.vector:
        yield from _wrapped(f"    source: {_flow(source)[:-1]}, vector_columns: ", one.vector)
    else:
        yield f"    source: {_flow(source)}"
    rules = {names[task]: rule for of in (one.classes, one.labels) for task, (_, rule) in of.items()}
    yield f"    labels: {_flow(rules)}"
    if split != "train":
        yield f"    split: {split}"
    if select:
        yield f"    select: {_flow(select)}" + ("    # a shuffle that a seed fixes" if "rows" in select else "")
    for column, why in list(one.left_out.items())[:20]:
        yield f"    # column {column!r} is left out: {why}"


def _relatedness(found: Sequence[Found], names: dict[str, str], classes: Any, labels: Any) -> Iterator[str]:
    tasks = [*classes, *labels]
    if len(tasks) < 2:
        yield "# relatedness: with a second task, say here how it follows from the first (docs/relatedness.md)."
        return
    source, target = names[tasks[0]], names[tasks[1]]
    both = any({tasks[0], tasks[1]} <= {*one.classes, *one.labels} and one.split in (None, "train") for one in found)
    outputs = {**classes, **labels}
    first, second = outputs[tasks[0]][0], outputs[tasks[1]][0]
    yield "# How tasks follow from each other makes them help each other: fill it in, and take the marks away."
    yield "# relatedness:"
    if both:
        yield f"#   - {{from: {source}, to: {target}, counted: {{}}}}     # counted from rows annotated for both"
    else:
        yield f"#   - from: {source}"
        yield f"#     to: {target}"
        yield f"#     table: {_flow({first: [second]})}     # for every class, what holds of it; null: unknown"
        yield f"#   or: kindred relate CASE.yaml --edge {source}:{target} estimates it"


def _input(found: Sequence[Found], root: str) -> Iterator[str]:
    if found[0].vector:
        yield f"input: {{kind: vector, size: {len(found[0].vector)}, mean: measured, std: measured}}"
        return
    sizes, grey = _look_at_pictures(found, root)
    if sizes and len(set(sizes)) == 1 and max(sizes[0]) <= _LARGEST_SIDE:
        width, height = sizes[0]
        yield f"input: {{height: {height}, width: {width}, channels: {1 if grey else 3}}}     # the images' own size"
        return
    about = f"{len(set(sizes))} sizes were seen, {_in_words(sizes)}; " if sizes else ""
    yield f"# {about}larger images learn better and train longer; fit: squash, crop or pad"
    yield f"input: {{height: {_USUAL_SIDE}, width: {_USUAL_SIDE}, channels: {1 if grey else 3}, fit: crop}}"


def _in_words(sizes: Sequence[tuple[int, int]]) -> str:
    low, high = min(sizes), max(sizes)
    return f"from {low[0]} x {low[1]} to {high[0]} x {high[1]}"


def _look_at_pictures(found: Sequence[Found], root: str) -> tuple[list[tuple[int, int]], bool]:
    sizes, modes = [], set()
    if is_remote(root) or archive_kind(root) is not None:
        return [], False
    for name in [name for one in found for name in one.pictures[:50]]:
        try:
            with Image.open(join(root, name)) as image:
                sizes.append(image.size)
                modes.add(image.mode)
        except OSError:
            continue
    return sizes, bool(modes) and modes <= {"1", "L", "I;16", "I", "F"}


def _training(found: Sequence[Found]) -> Iterator[str]:
    rows = sum(one.rows for one in found if one.split in (None, "train"))
    batch = 64 if rows >= 640 else 16
    yield "training:"
    yield "  steps: 1000               # updates of every network; a shared one needs more than one of a single task"
    yield f"  batch_size: {batch}"
    yield "  device: auto              # a GPU where there is one"
    yield "  seeds: [0, 1, 2]          # five or more before you judge"
    yield "  matching: {ill: {weight: 3}, dm: {weight: 0.3}}     # losses of related tasks; `kindred tune` finds better"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    return text.removesuffix("\n...\n").strip()


def _wrapped(head: str, words: Sequence[str]) -> Iterator[str]:
    """Yield a list that goes on over lines."""
    line = head + "["
    for i, word in enumerate(words):
        piece = _flow(word) + (", " if i + 1 < len(words) else "]}")
        if len(line) + len(piece) > 118:
            yield line.rstrip()
            line = "      "
        line += piece
    yield line
