"""Checks of tasks and of how they relate, across sections of a case file."""

from collections import Counter
from collections.abc import Iterator

from mtlcore.suggestions import did_you_mean
from pipelines.case.case import Case, RelatednessEdge
from pipelines.case.data import (
    MulticlassTask,
    RegressionTask,
    TaskSection,
    outputs_of,
)
from pipelines.case.problems import no_such
from pipelines.sources.listing import ROWS

# Columns of every block and of the rows that a source lists, the whole loss in a run's history, the objective of
# related pairs, the mean over tasks and the other objectives of a search, what stands beside the losses in logs, and
# why an input has no prediction.
RESERVED = (
    *("id", "input", "source", "split", "loss", "matching", "mean", "safe", "delta_m", "pareto"),
    *("step", "event", "lr", "rows_per_s", "data_wait", "problem", "embedding"),
    *sorted({*ROWS.names} - {"id", "source"}),
)


def check_tasks(case: Case) -> Iterator[str]:
    """Say what is wrong with tasks, each by itself."""
    for name, task in case.tasks.items():
        if name in RESERVED:
            yield f"tasks.{name}: the name is taken; expected any but {', '.join(RESERVED)}"
        kind, outputs = names_of_outputs(task), outputs_of(name, task)
        known = set(outputs)
        for alias, output in task.aliases.items():
            if output not in known:
                near = did_you_mean(output, outputs)
                yield f"tasks.{name}.aliases.{alias}: found {output!r}, none of the {kind}{near}"
            elif alias in known:
                yield f"tasks.{name}.aliases.{alias}: {alias!r} is itself one of the {kind}; expected another word"
        for output in outputs:
            if output != output.strip() or not output:
                yield f"tasks.{name}.{kind}: found {output!r}; expected a name without white space around it"
        for twice in sorted(output for output, n in Counter(outputs).items() if n > 1):
            yield f"tasks.{name}.{kind}: found {twice!r} twice; expected every name once"

        yield from _loss_options(name, task)
        for key in ("mean", "spread") if isinstance(task, RegressionTask) else ():
            if (numbers := getattr(task, key)) is not None and len(numbers) != len(outputs):
                yield f"tasks.{name}.{key}: found {len(numbers)} numbers; expected {len(outputs)}, one an output"

    if all(task.auxiliary for task in case.tasks.values()):
        yield "tasks: found all of them auxiliary; expected one at least that is there for use"


def _loss_options(name: str, task: TaskSection) -> Iterator[str]:
    key = {"multiclass": "class_weights", "multilabel": "pos_weight"}.get(task.kind, "")
    weights = getattr(task, key, None)
    outputs = set(outputs_of(name, task))
    for output in weights if isinstance(weights, dict) else ():
        if output not in outputs:
            yield no_such(f"tasks.{name}.{key}", names_of_outputs(task), output, outputs)
    if isinstance(task, MulticlassTask) and task.loss is not None and task.loss.kind == "asymmetric":
        yield f"tasks.{name}.loss: found 'asymmetric', which is of labels; expected cross_entropy or focal"


def names_of_outputs(task: TaskSection) -> str:
    """Return the key below which a task's outputs are named."""
    return {"multilabel": "labels", "regression": "outputs"}.get(task.kind, "classes")


def check_relatedness(case: Case) -> Iterator[str]:
    """Say what is wrong with how tasks relate."""
    from mtlcore.relatedness.relatedness import no_relatedness
    from pipelines.case.build import relatedness_of, tasks_of

    tasks = tasks_of(case)
    linked: set[frozenset[str]] = set()
    for i, edge in enumerate(case.relatedness):
        key = f"relatedness.{i}"
        ends = {"from": edge.source, "to": edge.target}
        unknown = {end: name for end, name in ends.items() if name not in tasks}
        for end, name in unknown.items():
            yield no_such(f"{key}.{end}", "task", name, tasks)
        if unknown:
            continue
        refused = {end: why for end, name in ends.items() if (why := no_relatedness(tasks[name])) is not None}
        for end, why in refused.items():
            yield f"{key}.{end}: {why}"
        if refused:
            continue
        if edge.source == edge.target:
            yield f"{key}.to: found {edge.target!r}, the source itself; expected another task"
        elif frozenset(ends.values()) in linked:
            yield f"{key}: found a second edge between {edge.source} and {edge.target}; expected one per pair"
        elif edge.table is None and edge.counted is None:
            yield f"{key}: found neither 'table' nor 'file' nor 'counted'; expected one of them"
        elif edge.counted is not None and not _labelled_for_both(case, edge):
            yield (
                f"{key}.counted: found no dataset of split 'train' labelled for both {edge.source} and {edge.target}; "
                "expected one to count from (`kindred relate` estimates a table without)"
            )
        elif edge.table is not None:
            try:
                relatedness_of(edge, tasks)
            except ValueError as error:
                yield f"{key}.table: {error}"
        linked.add(frozenset(ends.values()))


def _labelled_for_both(case: Case, edge: RelatednessEdge) -> bool:
    return any({edge.source, edge.target} <= set(data_set.labels) for data_set in case.of_split("train").values())
