"""What is odd about the labels of a case as a whole, told before anything is trained: worst first."""

from collections.abc import Iterator, Mapping, Sequence

from mtlcore import Task
from pipelines.blocks.manifest import LabelCounts
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.pretrained_scaling import scaling_warning

_MOST_NAMED = 5
Counts = Mapping[str, Mapping[str, LabelCounts]]  # by dataset and task


def label_warnings(case: Case, counts: Counts) -> list[str]:
    """Say which labels cannot be learned, or not be tested.

    Args:
        case: the case.
        counts: the labels of every dataset's rows that take part, by dataset and task.
    """
    found: list[tuple[int, str]] = []
    if (scaling := scaling_warning(case)) is not None:
        found.append((2, scaling))
    for name, task in tasks_of(case).items():
        of_split = {split: _together(case, counts, split, name, task) for split in ("train", "validation", "test")}
        if task.encoding == "numbers":
            found += _of_numbers(task, [counts.get(data_set, {}).get(name) for data_set in case.of_split("train")])
        else:
            found += _of_classes(task, of_split) if task.encoding == "class" else _of_labels(case, task, of_split)
    return [words for _, words in sorted(found, key=lambda warning: warning[0])]


def _together(case: Case, counts: Counts, split: str, name: str, task: Task) -> LabelCounts:
    holds, known, annotated = dict.fromkeys(task.outputs, 0), dict.fromkeys(task.outputs, 0), 0
    for data_set in case.of_split(split):
        of_set = counts.get(data_set, {}).get(name)
        if of_set is None:
            continue
        annotated += of_set.annotated
        for output in task.outputs:
            holds[output] += of_set.histogram.get(output, 0)
            known[output] += of_set.known.get(output, of_set.annotated)
    return LabelCounts(annotated=annotated, histogram=holds, known=known)


def _of_numbers(task: Task, train: Sequence[LabelCounts | None]) -> Iterator[tuple[int, str]]:
    known = [of for of in train if of is not None and of.annotated]
    never = [name for name in task.outputs if not any(of.known.get(name) for of in known)]
    if known and never:
        yield 0, f"{task.name}: in training {len(never)} of {len(task.outputs)} numbers have no row: {_list(never)}"
    ends = {name: [end for of in known for end in of.range.get(name, ())] for name in task.outputs}
    same = [name for name, of_name in ends.items() if of_name and min(of_name) == max(of_name)]
    if same:
        yield 0, f"{task.name}: in training every row has the same number: {_list(same)}"


def _of_classes(task: Task, of_split: Mapping[str, LabelCounts]) -> Iterator[tuple[int, str]]:
    train, test = of_split["train"], of_split["test"]
    # A task without any training label is another mistake, and is told elsewhere.
    never = [name for name in task.outputs if train.annotated and not train.histogram[name]]
    tested = [name for name in never if any(of_split[split].histogram[name] for split in ("validation", "test"))]
    if tested:
        rows = sum(test.histogram[name] for name in tested)
        yield (
            1,
            f"{task.name}: {_named(tested)} no row in training, and in test {rows:,} of {test.annotated:,} rows: "
            "these can only be predicted wrongly",
        )
    known, absent_in_training = set(tested), set(never)
    if untested := [name for name in never if name not in known]:
        yield 3, f"{task.name}: {_named(untested)} no row in training"
    for split in ("test", "validation"):
        of = of_split[split]
        if absent := [
            name for name in task.outputs if of.annotated and not of.histogram[name] and name not in absent_in_training
        ]:
            yield 4, f"{task.name}: {_named(absent)} no row in {split}: nothing is said of how well they are recognized"


def _of_labels(case: Case, task: Task, of_split: Mapping[str, LabelCounts]) -> Iterator[tuple[int, str]]:
    for split, weight in (("train", 0), ("test", 2), ("validation", 4)):
        of = of_split[split]
        if not of.annotated:
            continue
        where = "training" if split == "train" else split
        kinds = {
            "always hold": [n for n in task.outputs if 0 < of.known[n] == of.histogram[n]],
            "never hold": [n for n in task.outputs if of.known[n] and not of.histogram[n]],
            "are annotated in no row": [n for n in task.outputs if not of.known[n]],
        }
        for what, names in kinds.items():
            if names:
                hint = _hint(case, split, task.name) if what == "always hold" else ""
                yield (
                    weight,
                    f"{task.name}: in {where} {len(names)} of {len(task.outputs)} labels {what}: {_list(names)}{hint}",
                )


def _hint(case: Case, split: str, task: str) -> str:
    """Say what makes every label hold, where it is plain: the code for "no" is taken for "not annotated"."""
    for name, data_set in case.of_split(split).items():
        rule = data_set.labels.get(task)
        if rule is not None and {"-1", "0"} & set(rule.not_annotated):
            code = next(code for code in ("-1", "0") if code in rule.not_annotated)
            return (
                f"; datasets.{name}.labels.{task}.not_annotated names {code}: if it means that a label does not hold, "
                f"set values: {{{code}: no}} in its place"
            )
    return ""


def _named(names: Sequence[str]) -> str:
    return f"the class {names[0]} has" if len(names) == 1 else f"{len(names):,} classes ({_list(names)}) have"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
