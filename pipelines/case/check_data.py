"""Checks of datasets: their sources, what lies there, and the rules that say where labels come from."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote, join, missing_bucket
from pipelines.case.case import Case
from pipelines.case.check_tasks import names_of_outputs
from pipelines.case.data import (
    DataSet,
    LabelRule,
    MulticlassTask,
    MultilabelTask,
    OrdinalTask,
    RegressionTask,
    TaskSection,
    VectorInput,
    outputs_of,
)
from pipelines.case.label_models import label_model_keys
from pipelines.case.problems import no_such
from pipelines.sources.list_source import nothing_there, wrong_kind
from pipelines.sources.listing import matches_pattern
from pipelines.sources.places import NothingThereError
from pipelines.sources.registry import Source
from pipelines.sources.table_columns import names_of
from pipelines.sources.tree import BrokenArchiveError


def check_datasets(case: Case) -> Iterator[str]:
    """Say what is wrong with datasets, but for what lies at their paths."""
    numbers = {of.part.folds for of in case.datasets.values() if of.part and of.part.folds}
    if len(numbers) > 1:
        yield f"datasets: found splits of {' and '.join(map(str, sorted(numbers)))} folds; expected one number of folds"
    for name, data_set in case.datasets.items():
        key = f"datasets.{name}"
        for by in data_set.part.stratify if data_set.part else ():
            if by not in data_set.labels:
                near = did_you_mean(by, data_set.labels)
                yield f"{key}.split.stratify: found {by!r}, for which the dataset has no labels{near}"
        yield from check_source(case, f"{key}.source", data_set.source)
        yield from _crop(case, name, data_set)
        if any(rule.long for rule in data_set.labels.values()):
            for task_name, rule in data_set.labels.items():
                if rule.where == "annotators" and rule.soft:
                    yield f"{key}.labels.{task_name}.soft: found true beside long: true; expected one of them"
        for task_name, rule in data_set.labels.items():
            if task_name not in case.tasks:
                yield no_such(f"{key}.labels", "task", task_name, case.tasks)
            else:
                place = f"{key}.labels.{task_name}"
                training = data_set.split == "train"
                yield from label_model_keys(place, task_name, rule, case.tasks[task_name], for_training=training)
                if rule.where != "model":
                    yield from _label_rule(case, place, task_name, rule, data_set.source)
    for task_name, task in case.tasks.items():
        for split in ("train",) if task.auxiliary else ("train", "test"):
            if not any(task_name in data_set.labels for data_set in case.of_split(split).values()):
                yield (
                    f"datasets: found none of split {split!r} labelled for task {task_name!r}; "
                    "expected one to learn from and one to test on for every task"
                )


def _crop(case: Case, name: str, data_set: DataSet) -> Iterator[str]:
    """A model takes parts of images as it was trained to, so that the case says it once for all of its datasets."""
    key = f"datasets.{name}.crop"
    whole = isinstance(case.input, VectorInput) or case.input.crop is None
    if data_set.crop and whole:
        yield f"{key}: found; expected input.crop too: what is predicted is cropped by it"
    elif not whole and data_set.crop is None and data_set.source.labels_in_folders:
        yield (
            f"{key}: missing; input.crop takes a part of each image by columns, and a source of kind "
            f"{data_set.source.kind!r} has none; expected a table, or false where images are cropped already"
        )


def check_source(case: Case, key: str, source: Source) -> Iterator[str]:
    """Images come from sources of images, vectors from columns of numbers or arrays."""
    vectors = getattr(source, "vector_columns", None)
    if isinstance(case.input, VectorInput):
        if "vector" not in source.inputs:
            yield f"{key}.kind: found {source.kind!r}, a source of images; expected one of vectors, as input.kind says"
        elif vectors == ():
            yield f"{key}.vector_columns: missing; inputs are vectors; expected the columns that hold the numbers"
        elif vectors and case.input.columns and names_of(vectors) != names_of(case.input.columns):
            yield (
                f"{key}.vector_columns: found {names_of(vectors)}, and input.columns declares "
                f"{names_of(case.input.columns)}; expected no columns here"
            )
    elif "picture" not in source.inputs:
        yield f"{key}.kind: found {source.kind!r}, a source of vectors; expected one of images, as input.kind says"
    elif vectors:
        yield (
            f"{key}.vector_columns: found {list(vectors)}, and inputs are images; expected none, or input.kind: vector"
        )


def check_source_paths(case: Case) -> Iterator[str]:
    """Say which paths lead nowhere, or to something of another kind."""
    if case.logging.tensorboard and is_remote(case.storage.path):
        yield (
            f"logging.tensorboard: found true, and storage.path {case.storage.path!r}; "
            "expected a local folder for event files"
        )
    if not is_remote(case.storage.path):
        storage = Path(case.storage.path)
        blocking = next((p for p in (storage, *storage.parents) if os.path.exists(p) and not p.is_dir()), None)
        if blocking is not None:
            yield (
                f"storage.path: found {str(storage)!r}, and {blocking} is a file; "
                "expected a folder, there or to be made"
            )
    places = (
        ("storage.path", case.storage.path),
        ("storage.blocks", case.storage.blocks),
        ("data_root", case.data_root),
    )
    for key, url in places:
        # The only check that waits for another machine: stop at the first storage that is missing.
        if url is not None and is_remote(url) and (problem := _not_there(key, url)):
            yield problem
            return
    if not case.needs_data_root:
        return
    root = str(case.data_root)
    if not is_remote(root) and not Path(root).exists():
        siblings = sorted(p.name for p in Path(root).parent.iterdir()) if Path(root).parent.is_dir() else []
        name = Path(root).name
        near = did_you_mean(name, difflib.get_close_matches(name, siblings, n=1))
        yield f"data_root: found {root!r}, no such folder or archive; expected where your data lie{near}"
        return
    sources = {f"datasets.{name}.source": data_set.source for name, data_set in case.datasets.items()}
    if case.evaluation.verification:
        sources["evaluation.verification.source"] = case.evaluation.verification.source
    for key, source in sources.items():
        try:
            source.find_places(root)
        except NothingThereError as error:
            what = wrong_kind(root, str(error), source)
            yield _missing_path(f"{key}.path", str(error), root) if what is None else f"{key}.path: {what}"
        except BrokenArchiveError as error:
            if case.ingest.broken_archives == "fail":
                yield f"{key}.path: {error}; expected a whole archive"
        except (UserError, OSError) as error:
            yield f"{key}.path: {error}"


def _not_there(key: str, url: str) -> str | None:
    try:
        bucket = missing_bucket(url)
    except UserError as error:
        return f"{key}: {error}"
    return f"{key}: found {url!r}, and there is no bucket {bucket!r}; expected one that is there" if bucket else None


def _missing_path(key: str, path: str, root: str) -> str:
    return (
        f"{key}: found {path!r}, nothing lies at {join(root, path)}; expected a path below data_root "
        f"(--set data_root=DIR sets where your data lie){nothing_there(root, path)}"
    )


def _label_rule(case: Case, key: str, task_name: str, rule: LabelRule, source: Source) -> Iterator[str]:
    if rule.where == "folder" and not source.labels_in_folders:
        yield f"{key}.from: found 'folder' for a source of kind {source.kind!r}; expected 'column' or 'columns'"
    if rule.where != "folder" and source.labels_in_folders:
        yield f"{key}.from: found {rule.where!r} for a source of kind {source.kind!r}; expected 'folder'"
    yield from _rule_keys(key, rule, case.tasks[task_name])
    yield from _inputs_as_labels(key, rule, outputs_of(task_name, case.tasks[task_name]), source)
    if (rule.where == "column") != (rule.column is not None):
        problem = "missing; expected" if rule.column is None else "found; expected only"
        yield f"{key}.column: {problem} with from: column"
    task = case.tasks[task_name]
    if rule.bins:
        yield from _bins(key, task_name, rule, task)
        return
    if rule.through is None:
        if rule.where == "folder" and isinstance(task, MultilabelTask):
            yield f"{key}: a folder names one class, {task_name!r} is multilabel; expected 'through' a multiclass task"
        if rule.threshold is not None and rule.where != "columns" and rule.value_column is None:
            yield f"{key}.threshold: found; expected only with from: columns, or with value_column"
        return
    if rule.where == "columns":
        yield f"{key}.from: found 'columns' with 'through', which reads one class; expected 'column' or 'folder'"
    if rule.through not in case.tasks:
        yield no_such(f"{key}.through", "task", rule.through, case.tasks)
        return
    edge = next((e for e in case.relatedness if (e.source, e.target) == (rule.through, task_name)), None)
    if edge is None or edge.table is None or edge.counted is not None:
        yield f"{key}.through: there is no relatedness {rule.through} -> {task_name}; expected one with a table"
        return
    from pipelines.case.build import relatedness_of, tasks_of

    for value in relatedness_of(edge, tasks_of(case)).table.flatten().tolist():
        if value not in (0.0, 1.0):
            yield (
                f"{key}.through: the table {rule.through} -> {task_name} holds {value:g}; "
                "expected zeros and ones alone, which make true labels"
            )
            return


def _bins(key: str, task_name: str, rule: LabelRule, task: TaskSection) -> Iterator[str]:
    """Say what is wrong with a rule that cuts a column of numbers."""
    outputs = outputs_of(task_name, task)
    if isinstance(task, RegressionTask):
        yield f"{key}.bins: found for {task_name!r}, a regression task, which takes the numbers; expected none"
        return
    if list(rule.bins) != sorted(set(rule.bins)):
        yield f"{key}.bins: found {list(rule.bins)}; expected rising numbers"
    right = len(rule.bins) + (not isinstance(task, MultilabelTask))
    if len(outputs) != right:
        what = names_of_outputs(task)
        yield f"{key}.bins: found {len(rule.bins)} numbers for {len(outputs)} {what} of {task_name!r}; expected {right}"
    if rule.where not in ("column", "folder"):
        yield f"{key}.bins: found with from: {rule.where}; expected from: column"
    for other in ("threshold", "names", "separator", "value_column", "through"):
        if getattr(rule, other) not in (None, ()):
            yield f"{key}.{other}: found beside bins, which read numbers; expected one of the two"


def _inputs_as_labels(key: str, rule: LabelRule, outputs: Sequence[str], source: Source) -> Iterator[str]:
    """A label that is among its own inputs is learnt by looking it up: only where the case says so."""
    inputs, labels_too = names_of(getattr(source, "vector_columns", ())), getattr(source, "label_columns", ())
    names = outputs if rule.where == "columns" else [*rule.columns, *([rule.column] if rule.column else [])]
    for name in names:
        if any(matches_pattern(name, p) for p in inputs) and not any(matches_pattern(name, p) for p in labels_too):
            yield (
                f"{key}: found the column {name!r}, which source.vector_columns has as an input; expected it in one of "
                "the two, or in source.label_columns as well, where it is to be both"
            )


def _rule_keys(key: str, rule: LabelRule, task: TaskSection) -> Iterator[str]:
    """Say which keys of a rule are used only together."""
    if isinstance(task, RegressionTask):
        for name in ("threshold", "names", "value_column", "through"):
            if getattr(rule, name) is not None:
                yield f"{key}.{name}: found for a regression task, whose labels are numbers; expected none"
    one_class = MulticlassTask | OrdinalTask
    if (rule.where == "annotators") != bool(rule.columns):
        problem = "missing; expected" if not rule.columns else "found; expected only"
        yield f"{key}.columns: {problem} with from: annotators"
    if rule.soft and rule.where == "annotators":
        if isinstance(task, RegressionTask):
            yield f"{key}.soft: found true for a regression task, which takes the mean; expected no such key"
        elif rule.through is not None:
            yield f"{key}.soft: found true with through; expected one of the two"
    if rule.separator is not None and (rule.where not in ("column", "annotators") or isinstance(task, one_class)):
        yield f"{key}.separator: found; expected only for labels, or numbers, of one task in one column"
    if rule.value_column is not None and (not rule.long or isinstance(task, one_class)):
        yield f"{key}.value_column: found; expected only with long: true, for a multilabel task"
    if rule.long and rule.where != "column":
        yield f"{key}.long: found true; expected only with from: column"
