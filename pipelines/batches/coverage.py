"""Training-data coverage: datasets that get too few rows of a batch, and classes without a labelled input."""

from collections.abc import Iterator, Mapping

from mtlcore import Multiclass
from pipelines.batches.batch import batch_sampler, training_sizes
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import relatedness_of, tasks_of
from pipelines.case.case import Case

# Advice, not limits: below these a task's gradient is mostly noise of the draw, or its rows have hardly been seen.
FEWEST_ROWS = 8
FEWEST_PASSES = 5


def unseen_classes(case: Case, data_sets: DataSets) -> dict[str, tuple[str, ...]]:
    """Return by multiclass task the classes without a labelled training input; tasks that have none are left out."""
    unseen_by_task = {}
    for name, task in tasks_of(case).items():
        train = data_sets.of_split("train").manifests.values()
        counted = [manifest.labels[name].histogram for manifest in train if name in manifest.labels]
        unseen = tuple(c for c in task.outputs if not any(histogram.get(c, 0) for histogram in counted))
        if isinstance(task, Multiclass) and unseen:
            unseen_by_task[name] = unseen
    return unseen_by_task


def coverage_notes(case: Case, data_sets: DataSets) -> list[str]:
    """Return, a line each, what one would want to know of the training data before anything trains."""
    return [*_starved(case, training_sizes(data_sets)), *_unseen(case, data_sets)]


def _starved(case: Case, sizes: Mapping[str, int]) -> Iterator[str]:
    """A score of a network that hardly saw a dataset says nothing of the dataset, nor of what is compared with it."""
    training = case.training
    plans = [
        (name, tasks)
        for name, arm in case.arms.items()
        for tasks in (
            [case.tasks_of_arm(name)] if arm.networks == "shared" else [(t,) for t in case.tasks_of_arm(name)]
        )
    ]
    named: set[str] = set()
    for arm, tasks in sorted(plans, key=lambda plan: (case.arms[plan[0]].networks != "shared", plan)):
        for name, rows in batch_sampler(case.for_arm(arm), sizes, 0, tasks, case.arms[arm].batch).per_step.items():
            passes = training.steps * rows / sizes[name]
            # Many datasets in a small batch have few rows each: an even share is never told.
            few = rows < min(FEWEST_ROWS, training.batch_size // len(sizes))
            if name not in named and (few or passes < FEWEST_PASSES):
                named.add(name)
                yield (
                    f"training.mixing: {name!r} ({sizes[name]:,} rows) gets {rows} rows of a batch of "
                    f"{training.batch_size} and is gone through {passes:.1f} times in {training.steps:,} steps; below "
                    f"{FEWEST_ROWS} rows or {FEWEST_PASSES} times its tasks may starve (see mixing, batch_size, steps)"
                )


def _unseen(case: Case, data_sets: DataSets) -> Iterator[str]:
    tasks = tasks_of(case)
    for name, classes in unseen_classes(case, data_sets).items():
        in_table = {
            c
            for edge in case.relatedness
            if edge.source == name and edge.table is not None
            for c, row in zip(tasks[name].outputs, relatedness_of(edge, tasks).table, strict=True)
            if not bool(row.isnan().all())
        }
        for effect, group in (
            ("only the relatedness tells them, to co-training and to the arms that read its table", in_table),
            ("nothing tells them: they will not be recognised", set(classes) - in_table),
        ):
            listed = [c for c in classes if c in group]
            if listed:
                examples = ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")
                yield f"tasks.{name}: {len(listed)} classes without a labelled training input ({examples}); {effect}"
