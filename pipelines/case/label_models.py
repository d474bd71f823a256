"""Trained models that label datasets (``labels: {from: model}``): which they are, and whether they say what is asked.

A model is known by its content: the case holds a digest of it, so that another one at the same place makes other
blocks, and an experiment says by what its labels were made.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlcore.suggestions import did_you_mean
from pipelines.base.storage import join, kind_of, open_file, read_bytes
from pipelines.case.case import Case
from pipelines.case.data import LabelRule, MulticlassTask, MultilabelTask, OrdinalTask, TaskSection, outputs_of
from pipelines.case.named_code import named_code

if TYPE_CHECKING:  # torch takes a second to import
    from mtlcore.exported import Description

_AT_ONCE = 1 << 20


def with_label_models(raw_case: dict[str, Any], folder: Path, *, look_up: bool = True) -> list[str]:
    """Make, in a case as it was read, the paths of models absolute, and fill in what is in them: their ``sha256``.

    Args:
        raw_case: the content of the case file, before its validation; changed in place.
        folder: what paths are relative to.
        look_up: False where the models may lie on another machine, or no longer there.

    Returns:
        what is wrong, one line per mistake.
    """
    problems, digests = [], dict[str, str]()
    for key, rule in _rules_of(raw_case):
        place = rule.get("model")
        if not isinstance(place, str):
            continue
        if "://" not in place and look_up:
            rule["model"] = place = str((folder / place).resolve())
        if not look_up:
            continue
        try:
            found = digests.setdefault(place, digests.get(place) or model_digest(place))
        except (OSError, ValueError) as error:
            problems.append(f"{key}.model: {error}")
            continue
        if rule.setdefault("sha256", found) != found:
            problems.append(
                f"{key}.sha256: found {rule['sha256']!r:.20}, and the model at {place} has {found!r:.20}; expected the "
                "model that it was, or no such key"
            )
    return problems


def _rules_of(raw_case: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    datasets = raw_case.get("datasets")
    for name, data_set in datasets.items() if isinstance(datasets, dict) else ():
        labels = data_set.get("labels") if isinstance(data_set, dict) else None
        for task, rule in labels.items() if isinstance(labels, dict) else ():
            if isinstance(rule, dict) and rule.get("from") == "model":
                yield f"datasets.{name}.labels.{task}", rule


def model_digest(place: str) -> str:
    """Return the SHA-256 of an export's network.json and weights, one after the other.

    Raises:
        ValueError: there is no export.
    """
    from mtlcore.exported.folder import DESCRIPTION, WEIGHTS

    digest = hashlib.sha256()
    for name in (DESCRIPTION, WEIGHTS):
        if kind_of(join(place, name)) != "file":
            begun = kind_of(join(place, "case.yaml")) == "file"
            what = "an experiment; `kindred export` writes one of its arms" if begun else f"and no {name} there"
            raise ValueError(f"found {place!r}, {what}; expected the folder of `kindred export`")
        with open_file(join(place, name)) as opened:
            while part := opened.read(_AT_ONCE):
                digest.update(part)
    return digest.hexdigest()


def description_of(rule: LabelRule) -> "Description":
    """Return what a rule's model says of itself.

    Raises:
        ValueError: it is not what `kindred export` writes.
    """
    from mtlcore.exported import Description
    from mtlcore.exported.folder import DESCRIPTION

    return Description.from_json(read_bytes(join(str(rule.model), DESCRIPTION)))


def label_model_problems(case: Case) -> Iterator[str]:
    """Yield where a model predicts other things than the case asks, or takes other inputs."""
    for name, data_set in case.datasets.items():
        for task, rule in data_set.labels.items():
            if rule.where != "model" or task not in case.tasks or rule.model is None:
                continue
            key = f"datasets.{name}.labels.{task}"
            try:
                described = description_of(rule)
            except ValueError as error:
                yield f"{key}.model: {rule.model}: {error}; expected what `kindred export` of this version writes"
                continue
            if described.network.get("backbone") != case.network.backbone and (
                code := named_code({"network": described.network})
            ):
                yield (
                    f"{key}.model: {rule.model}: the backbone is {code[0][1]!r}, code that would be imported and run; "
                    "expected a model without, or the same network.backbone in this case, where you trust it"
                )
            yield from _differences(key, case.tasks[task], task, rule, described)
            yield from _other_inputs(key, case, data_set.source, described)


def _differences(key: str, task: TaskSection, name: str, rule: LabelRule, described: "Description") -> Iterator[str]:
    asked = rule.task or name
    said = described.served.get(asked)
    if said is None:
        yield (
            f"{key}.task: found {asked!r}, which the model does not predict{did_you_mean(asked, described.served)}; "
            f"expected one of {', '.join(described.served)}"
        )
        return
    if rule.soft:
        if said.kind == "regression":
            yield f"{key}.soft: found true, and the model's {asked!r} is numbers already; expected no such key"
            return
    elif said.kind != task.kind:
        soft = ", or soft: true" if task.kind == "regression" else ""
        yield f"{key}.model: found {asked!r} as {said.kind}, and the task is {task.kind}; expected the same{soft}"
        return
    outputs = outputs_of(name, task)
    named = [task.aliases.get(output, output) for output in said.outputs]
    if sorted(named) != sorted(outputs):
        missing, added = sorted(set(outputs) - set(named)), sorted(set(named) - set(outputs))
        told = [f"no {', '.join(map(repr, missing[:4]))}"] * bool(missing)
        told += [f"{', '.join(map(repr, added[:4]))} beside them"] * bool(added)
        yield (
            f"{key}.model: found {asked!r} with {' and '.join(told) or 'a name twice'}; expected the same names as in "
            f"tasks.{name} (tasks.{name}.aliases declares other words)"
        )


def _other_inputs(key: str, case: Case, source: Any, described: "Description") -> Iterator[str]:
    """Images are decoded for the model, whatever their size here; of vectors, columns are taken by their names."""
    kind = described.input["kind"]
    if kind != case.input.kind:
        yield f"{key}.model: found one of {kind} inputs, and input.kind is {case.input.kind!r}; expected the same"
    elif kind == "vector" and not takes_columns(source, described) and described.input_shape != case.input.shape:
        yield (
            f"{key}.model: found one of {described.input_shape[0]} numbers, and inputs have {case.input.shape[0]}; "
            "expected as many"
        )


def takes_columns(source: Any, described: "Description") -> bool:
    """Say whether a model takes its inputs from columns of a source by their names, as `kindred predict` does."""
    return bool(described.input.get("columns")) and hasattr(source, "vector_columns")


def label_model_keys(key: str, name: str, rule: LabelRule, task: TaskSection, *, for_training: bool) -> Iterator[str]:
    """Yield which keys of a rule do not go together with ``from: model``, or without it."""
    if rule.where != "model":
        for of_models in ("model", "task", "soft", "sha256"):
            if getattr(rule, of_models) and not (of_models == "soft" and rule.where == "annotators"):
                also = ", or from: annotators" if of_models == "soft" else ""
                yield f"{key}.{of_models}: found; expected only with from: model{also}"
        return
    if rule.model is None:
        yield f"{key}.model: missing; expected the folder of `kindred export` with from: model"
    for other in ("column", "columns", "through", "not_annotated", "values", "names", "separator", "bins", "long"):
        if getattr(rule, other):
            yield f"{key}.{other}: found with from: model, which reads no column; expected none"
    if rule.soft and task.kind != "regression":
        yield (
            f"{key}.soft: found true for {name!r}, which is {task.kind}; expected a regression task with an output for "
            "every class or label of the model, whose numbers are its log-odds"
        )
    if not for_training and not task.auxiliary:
        yield (
            f"{key}.from: found 'model' in a split that is scored; expected labels that somebody gave (a task with "
            "auxiliary: true may be compared with a model)"
        )
    if rule.threshold is None:
        return
    least = 0.5 if isinstance(task, MultilabelTask) else 0.0
    if isinstance(task, MulticlassTask | MultilabelTask | OrdinalTask) and not least <= rule.threshold <= 1:
        yield f"{key}.threshold: found {rule.threshold:g}; expected a probability, from {least:g} to 1"
