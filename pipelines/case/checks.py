"""Validation across sections of a case file: references between names, tables, paths."""

import difflib
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from mtlcore import metric_names
from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError, one_line
from pipelines.base.storage import is_remote, join, missing_bucket
from pipelines.case.build_network import builds_anywhere
from pipelines.case.case import Arm, Case, RelatednessEdge, Tuning
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
from pipelines.case.exported_start import columns_problem
from pipelines.case.label_models import label_model_keys, label_model_problems
from pipelines.case.search_spaces import SEARCHERS, check_space
from pipelines.case.start import trained_on
from pipelines.case.training import Matching, Mixing, SharesMixing
from pipelines.case.unlabelled import StrongView
from pipelines.optimization.optimizer import check_optimizer
from pipelines.optimization.schedule import check_schedule
from pipelines.sources.list_source import nothing_there, wrong_kind
from pipelines.sources.listing import ROWS, matches_pattern
from pipelines.sources.places import NothingThereError
from pipelines.sources.registry import Source
from pipelines.sources.table_columns import names_of
from pipelines.sources.tree import BrokenArchiveError


def check_case(case: Case, *, check_paths: bool = True) -> list[str]:
    """Return what is wrong with a case, one line per mistake: ``key: what was found; what would be right``.

    With ``check_paths`` False, nothing is looked up below data_root: it lies on another machine.
    """
    paths = (_source_paths, label_model_problems) if check_paths else ()
    network = (_network,) if check_paths or builds_anywhere(case.network) else ()
    checks = (
        _tasks,
        _relatedness,
        _datasets,
        *paths,
        _training,
        _schedule,
        _optimizer,
        _metrics,
        _validation,
        _arms_and_evaluation,
        _verification,
        _pair_losses,
        _balancing,
        _pieces_and_shards,
        _warm_up,
        _unlabelled,
        _tuning,
        *network,
    )
    problems: list[str] = []
    for check in checks:
        problems += check(case)
        if problems and check in (_tasks, _relatedness, _pair_losses, _balancing):
            break  # what follows builds on these
    return problems


def check_machine(case: Case) -> list[str]:
    """Return what training needs and this machine lacks, a line a mistake; for a Ray of this machine's own."""
    training, problems = case.training, []
    mode = case.logging.wandb.mode
    wandb = find_spec("wandb")
    if mode != "disabled" and (wandb is None or wandb.origin is None):  # a folder `wandb` is no package
        problems.append(
            f"logging.wandb.mode: found {mode!r}, and wandb is not installed; "
            "pip install 'kindred-mtl[wandb]' installs it"
        )
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    found = "'step'" if training.compile == "step" else "true"
    if training.compile and shutil.which(compiler) is None:
        problems.append(
            f"training.compile: found {found}, and there is no C++ compiler {compiler!r} on this machine; "
            "expected one there, or its path in the environment variable CXX"
        )
    if training.device == "cuda":
        import torch

        if (gpus := torch.cuda.device_count()) < training.min_workers:
            problems.append(
                f"training.device: found 'cuda' for {training.min_workers} workers, and torch finds {gpus} GPUs on "
                "this machine; expected cpu, or RAY_ADDRESS set to a cluster that has them"
            )
    return problems


def _unknown(key: str, kind: str, name: str, valid: Iterable[str]) -> str:
    return f"{key}: found {name!r}, no such {kind}{did_you_mean(name, valid)}"


# Columns of every block and of the rows that a source lists, the whole loss in a run's history, the objective of
# related pairs, and the mean over tasks.
RESERVED = ("id", "input", "source", "split", "loss", "matching", "mean", *sorted({*ROWS.names} - {"id", "source"}))


def _tasks(case: Case) -> Iterator[str]:
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
            yield _unknown(f"tasks.{name}.{key}", names_of_outputs(task), output, outputs)
    if isinstance(task, MulticlassTask) and task.loss is not None and task.loss.kind == "asymmetric":
        yield f"tasks.{name}.loss: found 'asymmetric', which is of labels; expected cross_entropy or focal"


def names_of_outputs(task: TaskSection) -> str:
    """Return the key below which a task's outputs are named."""
    return {"multilabel": "labels", "regression": "outputs"}.get(task.kind, "classes")


def _relatedness(case: Case) -> Iterator[str]:
    from mtlcore.relatedness.relatedness import no_relatedness
    from pipelines.case.build import relatedness_of, tasks_of

    tasks = tasks_of(case)
    linked: set[frozenset[str]] = set()
    for i, edge in enumerate(case.relatedness):
        key = f"relatedness.{i}"
        ends = {"from": edge.source, "to": edge.target}
        unknown = {end: name for end, name in ends.items() if name not in tasks}
        for end, name in unknown.items():
            yield _unknown(f"{key}.{end}", "task", name, tasks)
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


def _datasets(case: Case) -> Iterator[str]:
    numbers = {of.part.folds for of in case.datasets.values() if of.part and of.part.folds}
    if len(numbers) > 1:
        yield f"datasets: found splits of {' and '.join(map(str, sorted(numbers)))} folds; expected one number of folds"
    for name, data_set in case.datasets.items():
        key = f"datasets.{name}"
        for by in data_set.part.stratify if data_set.part else ():
            if by not in data_set.labels:
                near = did_you_mean(by, data_set.labels)
                yield f"{key}.split.stratify: found {by!r}, for which the dataset has no labels{near}"
        yield from _source_and_input(case, f"{key}.source", data_set.source)
        yield from _crop(case, name, data_set)
        for task_name, rule in data_set.labels.items():
            if task_name not in case.tasks:
                yield _unknown(f"{key}.labels", "task", task_name, case.tasks)
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


def _source_and_input(case: Case, key: str, source: Source) -> Iterator[str]:
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


def _source_paths(case: Case) -> Iterator[str]:
    if case.logging.tensorboard and is_remote(case.storage.path):
        yield (
            f"logging.tensorboard: found true, and storage.path {case.storage.path!r}; "
            "expected a local folder for event files"
        )
    if not is_remote(case.storage.path):
        storage = Path(case.storage.path)
        blocking = next((p for p in (storage, *storage.parents) if p.exists() and not p.is_dir()), None)
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
        yield _unknown(f"{key}.through", "task", rule.through, case.tasks)
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
    if rule.separator is not None and (rule.where not in ("column", "annotators") or isinstance(task, one_class)):
        yield f"{key}.separator: found; expected only for labels, or numbers, of one task in one column"
    if rule.value_column is not None and (not rule.long or isinstance(task, one_class)):
        yield f"{key}.value_column: found; expected only with long: true, for a multilabel task"
    if rule.long and rule.where != "column":
        yield f"{key}.long: found true; expected only with from: column"


def _training(case: Case) -> Iterator[str]:
    training, train_sets = case.training, case.of_split("train")
    yield from _mixing("training", case, training.mixing)
    yield from _augmentation(case)
    for name in training.task_weights:
        if name not in case.tasks:
            yield _unknown("training.task_weights", "task", name, case.tasks)
    if training.batch_size < max(len(train_sets), training.max_workers):
        yield (
            f"training.batch_size: found {training.batch_size}; expected at least one row for each of "
            f"{len(train_sets)} datasets and {training.max_workers} workers"
        )
    if training.batch_size < training.max_workers * training.accumulate:
        yield (
            f"training.accumulate: found {training.accumulate} pieces for each of {training.max_workers} workers, and "
            f"a batch of {training.batch_size} rows; expected a row for each at least"
        )
    for section, seeds in (("training", training.seeds), ("tuning", case.tuning.seeds)):
        if len(set(seeds)) != len(seeds):
            yield f"{section}.seeds: found {list(seeds)}; expected every seed once"


def _mixing(section: str, case: Case, mixing: Mixing) -> Iterator[str]:
    train_sets = case.of_split("train")
    if isinstance(mixing, SharesMixing):
        for name in mixing.shares:
            if name not in train_sets:
                yield _unknown(f"{section}.mixing", "dataset of split train", name, train_sets)
        for name in train_sets:
            if name not in mixing.shares:
                yield f"{section}.mixing: {name!r} is missing; expected a share for every training dataset"


def _own_settings(case: Case, name: str, arm: Arm) -> Iterator[str]:
    """Say what is wrong with what an arm has in the place of the case's own settings."""
    key = f"arms.{name}"
    for what in ("tasks", "shuffle", "task_weights"):
        for task in getattr(arm, what) or ():
            if task not in case.tasks:
                yield _unknown(f"{key}.{what}", "task", task, case.tasks)
    if arm.tasks == ():
        yield f"{key}.tasks: found none; expected one at least, or no such key for all"
    served = case.tasks_of_arm(name)
    for task in arm.shuffle:
        if task in case.tasks and task not in served:
            yield f"{key}.shuffle: found {task!r}, which the arm does not serve; expected one of {', '.join(served)}"
    if arm.mixing is not None:
        yield from _mixing(key, case, arm.mixing)
    if arm.reads_the_table and arm.tasks is not None:
        for edge in case.relatedness:
            missing = {edge.source, edge.target} - set(served)
            if edge.source in served and missing:
                yield f"{key}.tasks: {', '.join(missing)} is missing, from which the table is read backwards"


def _schedule(case: Case) -> Iterator[str]:
    for problem in check_schedule(case.training.schedule, case.training.steps):
        yield f"training.schedule.{problem}"


def _optimizer(case: Case) -> Iterator[str]:
    try:
        check_optimizer(case.training.optimizer)
    except ValueError as error:
        yield f"training.optimizer.{error}"


def _validation(case: Case) -> Iterator[str]:
    from pipelines.case.build import tasks_of

    training, labelled = case.training, case.of_split("validation").values()
    if training.validation.every_steps is None:
        for key in ("best", "early_stopping"):
            if getattr(training, key) is not None:
                yield f"training.{key}: found, and no training.validation.every_steps; expected how often to validate"
        return
    if not labelled:
        yield "training.validation.every_steps: found, and no dataset of split 'validation'; expected one"
        return
    if training.best is None or training.best.metric == "mean":
        return
    task, dot, metric = training.best.metric.partition(".")
    if task not in case.tasks:
        yield _unknown("training.best.metric", "task", task, ["mean", *case.tasks])
    elif not any(task in data_set.labels for data_set in labelled):
        yield (
            f"training.best.metric: found {task!r}, and no dataset of split 'validation' is labelled for it; "
            "expected one"
        )
    elif dot and metric not in (metrics := [*metric_names(tasks_of(case)[task]), *_own_metrics(case, task)]):
        yield _unknown("training.best.metric", "metric", metric, metrics)


def _own_metrics(case: Case, task: str) -> list[str]:
    settings = case.evaluation.metrics.get(task)
    names = [*settings.add, settings.primary or ""] if settings else []
    return [name.rpartition(":")[2] for name in names if name]


def _augmentation(case: Case) -> Iterator[str]:
    settings, key = case.training.augmentation, "training.augmentation"
    if isinstance(case.input, VectorInput):
        if settings.of_pictures:
            yield f"{key}: found {', '.join(settings.of_pictures)}; inputs are vectors; expected mixup alone"
    elif settings.crop >= (least := min(case.input.height, case.input.width)):
        yield f"{key}.crop: found {settings.crop}; expected less than {least}, the image's size, for this margin"


def _arms_and_evaluation(case: Case) -> Iterator[str]:
    if case.evaluation.baseline not in case.arms:
        yield _unknown("evaluation.baseline", "arm", case.evaluation.baseline, case.arms)
    for name, arm in case.arms.items():
        if arm.infer == "table" and arm.fuse is not None:
            yield f"arms.{name}: found both 'infer: table' and 'fuse: table'; expected one of them"
        yield from _own_settings(case, name, arm)
        readable = any(isinstance(case.tasks.get(edge.source), MulticlassTask) for edge in case.relatedness)
        if arm.reads_the_table and not readable:
            yield f"arms.{name}: reads a table, and no relatedness edge leads from a multiclass task; expected one"
    yield from _warm_start(case)
    if case.evaluation.main_task is not None and case.evaluation.main_task not in case.tasks:
        yield _unknown("evaluation.main_task", "task", case.evaluation.main_task, case.tasks)


def _verification(case: Case) -> Iterator[str]:
    settings, key = case.evaluation.verification, "evaluation.verification"
    if settings is None:
        return
    if settings.task not in case.tasks:
        yield _unknown(f"{key}.task", "task", settings.task, case.tasks)
    yield from _source_and_input(case, f"{key}.source", settings.source)
    if settings.source.labels_in_folders and settings.column != "folder":
        yield f"{key}.column: found {settings.column!r} for images in folders; expected folder"
    if case.folds:
        yield f"{key}: found beside folds, each of which has networks of its own; expected one of the two"


def _metrics(case: Case) -> Iterator[str]:
    from pipelines.case.metrics import metrics_of

    for name in case.evaluation.metrics:
        if name not in case.tasks:
            yield _unknown("evaluation.metrics", "task", name, case.tasks)
    try:
        metrics_of(case)
    except ValueError as error:
        yield f"evaluation.metrics.{error}"


def _pair_losses(case: Case) -> Iterator[str]:
    from pipelines.case.build import check_added_losses

    reported: set[str] = set()
    for name, arm in case.arms.items():
        if not isinstance(arm.matching, Matching):
            continue
        section = "training" if arm.matching == case.training.matching else f"arms.{name}"
        try:
            check_added_losses(case, arm.matching)
        except ValueError as error:
            if str(error) not in reported:
                reported.add(str(error))
                yield f"{section}.matching.{error}"


def _warm_start(case: Case) -> Iterator[str]:
    """What several tasks were trained on is no start for a network that is to show what one task does alone."""
    networks = {"network": case.network} | {
        f"arms.{name}.network": arm.network for name, arm in case.arms.items() if arm.network is not None
    }
    for key, network in networks.items():
        for what, off in (("freeze_steps", 0), ("layer_decay", 1.0)):
            if getattr(network, what) != off and not network.pretrained:
                yield f"{key}.{what}: found {getattr(network, what)}; expected {key}.pretrained too, which it is for"
        if network.layer_decay != 1.0 and network.sharing.kind != "hard":
            yield (
                f"{key}.layer_decay: found {network.layer_decay} with sharing {network.sharing.kind!r}, whose layers "
                "are not one after the other; expected 1, or sharing: hard"
            )
    for name, arm in case.arms.items():
        if arm.networks != "one_per_task" or arm.pretrained is not None:
            continue
        place = case.for_arm(name).network.pretrained
        try:
            together = next((on for task in case.tasks_of_arm(name) if len(on := trained_on(place, [task])) > 1), None)
        except (OSError, ValueError):
            continue  # reported where the network is built
        if together:
            yield (
                f"arms.{name}.pretrained: missing; network.pretrained {place!r} was trained on {', '.join(together)} "
                "together, so a network of one task would start from co-training; expected false (from drawn weights) "
                "or true (from these)"
            )


def _balancing(case: Case) -> Iterator[str]:
    import torch

    from pipelines.case.build import build_balancing, build_loss

    if any(_relatedness(case)):
        return  # reported already; a loss cannot be built
    reported: set[str] = set()
    for name, arm in case.arms.items():
        if not (served := list(case.tasks_of_arm(name))):
            continue  # reported elsewhere
        tasks = served if arm.networks == "shared" else served[:1]
        # A stand-in for the backbone: methods look for a matrix, whatever its shape.
        shared = [torch.zeros(1, 1, requires_grad=True)]
        try:
            build_balancing(case, name, build_loss(case.for_arm(name), tasks, arm.matching, {}), shared, [], seed=0)
        except ValueError as error:
            problem = f"{f'arms.{name}' if arm.balancing else 'training'}.balancing.{error}"
            if problem not in reported:
                reported.add(problem)
                yield problem


def _pieces_and_shards(case: Case) -> Iterator[str]:
    from mtlcore.balancing import BALANCERS, balancing_class

    if case.training.shard and case.training.compile:
        found = "'step'" if case.training.compile == "step" else "true"
        yield f"training.compile: found {found}, and training.shard too; expected one of the two"
    yield from _replayed_steps(case)
    requirements = {
        "in_pieces": (case.training.accumulate > 1, f"training.accumulate: found {case.training.accumulate}"),
        "in_shards": (case.training.shard, "training.shard: found true"),
    }
    methods = {(arm.balancing or case.training.balancing).method for arm in case.arms.values()}
    for ability, (needed, setting) in requirements.items():
        capable = [name for name in BALANCERS.built_in if getattr(balancing_class(name), ability)]
        for method in sorted(methods) if needed else ():
            if not getattr(balancing_class(method), ability):
                yield (
                    f"{setting}, and balancing {method!r} needs more than that leaves; "
                    f"expected one of {', '.join(capable)}"
                )


def _replayed_steps(case: Case) -> Iterator[str]:
    """Say what a GPU could not replay: a step that waits for values, or that changes what no tensor holds."""
    from mtlcore.balancing import balancing_class

    training = case.training
    if training.compile != "step" or training.device != "cuda":
        return
    found = "training.compile: found 'step'"
    if training.max_workers > 1:
        yield (
            f"{found} for up to {training.max_workers} workers; sums over workers inside a replayed step are not "
            "supported; expected true, or one worker"
        )
    if training.optimizer.name not in ("adamw", "sgd"):
        yield f"{found} with optimizer {training.optimizer.name!r}; expected adamw or sgd, or compile: true"
    for method in sorted({(arm.balancing or training.balancing).method for arm in case.arms.values()}):
        if not balancing_class(method).in_graphs:
            yield (
                f"{found} with balancing {method!r}, which looks at values or keeps some from step to step; "
                "expected fixed, or compile: true"
            )
    matchings = [arm.matching for arm in case.arms.values() if isinstance(arm.matching, Matching)]
    if any(matching.sca.weight and matching.sca.prior != "labels" for matching in matchings):
        yield f"{found} with priors that are estimated from step to step; expected compile: true"
    sections = [arm.unlabelled or training.unlabelled for arm in case.arms.values()]
    if any(section.has_losses or section.has_average for section in sections):
        yield f"{found} with losses of unlabelled inputs or a moving average; expected neither, or compile: true"
    own = {name for matching in matchings for name, added in matching.added.items() if added.weight}
    for name in sorted(own):
        yield f"{found} with the pair loss {name!r}, which may look at values; expected compile: true"


def _warm_up(case: Case) -> Iterator[str]:
    """Couplings that rise look like a loss that does not fall to a method that compares losses."""
    from mtlcore.balancing import BALANCERS, balancing_class

    for name, arm in case.arms.items():
        if not isinstance(arm.matching, Matching) or not (steps := arm.matching.warmup_steps):
            continue
        in_training = arm.matching.warmup_steps == case.training.matching.warmup_steps
        key = f"{'training' if in_training else f'arms.{name}'}.matching.warmup_steps: found {steps}"
        if steps >= case.training.steps:
            yield f"{key}; expected fewer than training.steps, {case.training.steps}"
        method = (arm.balancing or case.training.balancing).method
        if balancing_class(method).reads_progress:
            able = [known for known in BALANCERS.built_in if not balancing_class(known).reads_progress]
            yield (
                f"{key}, and balancing {method!r} compares losses, which rising weights change; "
                f"expected 0, or {', '.join(able)} or a method of gradients"
            )
            return


_OF_VECTORS = ("noise", "dropout")


def _unlabelled(case: Case) -> Iterator[str]:
    sections = {"training.unlabelled": case.training.unlabelled}
    sections |= {f"arms.{name}.unlabelled": arm.unlabelled for name, arm in case.arms.items() if arm.unlabelled}
    for key, section in sections.items():
        if section.has_average and case.training.shard:
            yield f"{key}: found something that reads the moving average, and training.shard too; expected one of them"
        if not section.has_losses:
            continue
        if case.training.augmentation.mixup:
            yield f"{key}: found a weight, and training.augmentation.mixup too, whose inputs are no row's; expected one"
        if section.warmup_steps >= case.training.steps:
            yield (
                f"{key}.warmup_steps: found {section.warmup_steps}; expected fewer than training.steps, "
                f"{case.training.steps}"
            )
        if section.pseudo_labels.relatedness != "ignore" and not case.relatedness:
            yield (
                f"{key}.pseudo_labels.relatedness: found {section.pseudo_labels.relatedness!r}, and there is no "
                "relatedness; expected an edge, or 'ignore'"
            )
        yield from _strong_view(case, f"{key}.strong", section.strong)


def _strong_view(case: Case, key: str, strong: StrongView) -> Iterator[str]:
    vectors = isinstance(case.input, VectorInput)
    wrong = sorted(name for name in strong.model_fields_set if (name in _OF_VECTORS) != vectors)
    kind = "vectors" if vectors else "images"
    if wrong:
        right = [name for name in StrongView.model_fields if (name in _OF_VECTORS) == vectors]
        yield f"{key}: found {', '.join(wrong)}; inputs are {kind}; expected {', '.join(right)}"
        return
    view = strong.over(case.training.augmentation)
    altered = (strong.noise or strong.dropout) if vectors else view.of_pictures
    if not altered:
        yield f"{key}: found nothing that alters {kind}; expected a view that differs from the weak one"
    if not isinstance(case.input, VectorInput) and view.crop >= (least := min(case.input.height, case.input.width)):
        yield f"{key}.crop: found {view.crop}; expected less than {least}, the image's size, for this margin"


def _tuning(case: Case) -> Iterator[str]:
    from pipelines.case.build import tasks_of

    tuning = case.tuning
    if tuning.arm not in case.arms and tuning.arm != Tuning().arm:
        # The default arm may be missing from a case that is never tuned; `kindred tune` checks it.
        yield _unknown("tuning.arm", "arm", tuning.arm, case.arms)
    try:
        check_space(tuning.space, case, tuning.arm)
    except ValueError as error:
        yield f"tuning.space: {error}"
    objectives = ("safe", "mean", "delta_m", "pareto", *case.tasks)
    task, _, metric = tuning.objective.partition(".")
    if tuning.objective not in objectives and task not in case.tasks:
        yield _unknown("tuning.objective", "objective", tuning.objective, objectives)
    elif metric and metric not in (known := metric_names(tasks_of(case)[task])):
        added = case.evaluation.metrics.get(task)
        if metric not in [name.rpartition(":")[2] for name in (added.add if added else ())]:
            yield _unknown("tuning.objective", f"metric of task {task!r}", metric, known)
    if tuning.search == "pbt":
        yield (
            "tuning.search: found 'pbt', population-based training, which there is none of; expected optuna, random, "
            "grid, or package.module:callable"
        )
    else:
        try:
            SEARCHERS.check_name(tuning.search)
        except ValueError as error:
            yield f"tuning.search: {error}"
    validates = case.training.validation.every_steps is not None
    if tuning.scheduler not in (None, "none") and not validates:
        yield (
            f"tuning.scheduler: found {tuning.scheduler!r}, and training.validation.every_steps is not set; expected "
            "trials that validate as they train, or none"
        )


_OF_IMAGES = ("small_cnn", "resnet_small")


def _network(case: Case) -> Iterator[str]:
    from pipelines.case.build import build_network

    drawn = case.network.model_copy(update={"pretrained": None, "pretrained_sha256": None})
    own = {f"arms.{name}.": of_arm for name in case.arms if (of_arm := case.for_arm(name)).network != case.network}
    own = {key: of_arm for key, of_arm in own.items() if of_arm.network != drawn}  # which is easier to build
    for key, of_arm in {"": case, **own}.items():
        used_by = [name for name in case.arms if case.for_arm(name).network == of_arm.network]
        tasks = list(case.tasks)
        if used_by and all(case.arms[name].networks == "one_per_task" for name in used_by):
            tasks = list(case.tasks_of_arm(used_by[0]))[:1]  # an export may hold a network a task, and no other
        if isinstance(case.input, VectorInput) and of_arm.network.backbone in _OF_IMAGES:
            yield (
                f"{key}network.backbone: found {of_arm.network.backbone!r}, which takes images, and inputs are vectors "
                f"of {case.input.size} numbers; expected mlp, flatten, or package.module:callable"
            )
            continue
        try:
            build_network(of_arm, tasks, seed=0)
        except ValueError as error:
            yield f"{key}network.{error}"
            continue
        except (RuntimeError, MemoryError, OverflowError) as error:  # a width of which torch has not the memory
            yield f"{key}network: cannot be built: {one_line(error)}"
            continue
        if isinstance(case.input, VectorInput) and (
            problem := columns_problem(of_arm, [one.name for one in case.input.table_columns])
        ):
            yield problem
