"""Load a case file: parse it, apply overrides, validate; a Case, or one message that names the mistake."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_small
from pipelines.base.plain_yaml import parse_yaml
from pipelines.base.progress import note
from pipelines.base.storage import NoFileError, join
from pipelines.case.by_step import SCHEDULED
from pipelines.case.case import Case
from pipelines.case.device import with_device
from pipelines.case.exported_start import cold_baselines, fill_from_export, with_named_weights
from pipelines.case.label_models import with_label_models
from pipelines.case.network_paths import KEYS as NETWORK_PATHS
from pipelines.case.network_paths import absolute_network_path, resolve_network_paths
from pipelines.case.pretrained_scaling import with_pretrained_scaling
from pipelines.case.relatedness import with_plain_tables
from pipelines.case.same_as import with_shared_keys
from pipelines.case.split import with_divided_datasets
from pipelines.case.vocabulary import with_listed_vocabularies
from pipelines.sources.table_columns import columns_alone

SHIPPED_CASES = Path(__file__).parents[1] / "cases"


def read_yaml(path: Path) -> Any:
    """Return what a file of plain YAML holds.

    Raises:
        UserError: no such file, or it is not plain YAML within the bounds; names line and column.
    """
    try:
        text = read_small(str(path)).decode()
    except NoFileError:
        raise UserError(f"{path}: no regular file; expected one in YAML") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    except ValueError as error:  # too large
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_yaml(text, str(path))


def shipped_cases() -> list[Path]:
    """Return the case files that come with this package, those of its folders (``studies/focus``) too."""
    return sorted(SHIPPED_CASES.rglob("*.yaml"))


def find_case_file(name: str) -> Path:
    """Return the case file at a path, or the shipped one of that name.

    Raises:
        UserError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    shipped = SHIPPED_CASES / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    near = sorted(str(p.relative_to(SHIPPED_CASES).with_suffix("")) for p in shipped_cases())
    near += sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    raise UserError(f"{name}: no such case file{did_you_mean(path.name, near)}")


def load_case(name: str, overrides: Sequence[str] = (), *, check_paths: bool = True) -> Case:
    """Read and validate a case file.

    Args:
        name: path of the file, or the name of a shipped case.
        overrides: ``key.path=value``, the value in YAML. A data_root or storage.path given so is relative to the
            working directory; in the file, data_root is relative to the file's folder.
        check_paths: False where another machine runs the case: data_root and storage.path stay as they are
            written, and nothing is looked up there.

    Returns:
        the case, complete in itself: paths absolute, relatedness files read into tables.

    Raises:
        UserError: the file or an override is wrong; one line per mistake, each naming file, key, what was found and
            what would be right.
    """
    path = find_case_file(name)
    return _validated(read_yaml(path), path, overrides, check_paths=check_paths)


def load_content(
    content: Mapping[str, Any], name: str, overrides: Sequence[str] = (), *, check_paths: bool = True
) -> Case:
    """Validate what a case file holds as :func:`load_case` does, without reading it."""
    return _validated(copy.deepcopy(dict(content)), Path(name), overrides, check_paths=check_paths)


def case_of(content: Mapping[str, Any], overrides: Sequence[str] = ()) -> Case:
    """Validate a case that was built in a program; paths are relative to the working directory.

    Args:
        content: what a case file holds, plain values alone; it is not written to.
        overrides: as for :func:`load_case`.

    Raises:
        UserError: as for :func:`load_case`.
    """
    return _validated(copy.deepcopy(dict(content)), Path("case"), overrides, check_paths=True)


def _validated(raw_case: Any, path: Path, overrides: Sequence[str], *, check_paths: bool) -> Case:
    if not isinstance(raw_case, dict):
        raise UserError(f"{path}: found {type(raw_case).__name__}; expected a mapping with the keys of a case")
    of_an_arm = [override for override in overrides if override.startswith("arms.")]
    for override in overrides:
        if override not in of_an_arm:
            _apply(raw_case, override, path, resolve=check_paths)
    if of_an_arm and raw_case.get("arms") is None:
        raw_case["arms"] = _default_arms(raw_case)  # they are added to, and changed, as if the file named them
    for override in of_an_arm:
        _apply(raw_case, override, path, resolve=check_paths)
    if problems := with_shared_keys(raw_case):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    _resolve_paths(raw_case, path, resolve=check_paths)
    if check_paths and (problems := fill_from_export(raw_case)):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    _choose_backbone(raw_case)
    _merge_matching_into_arms(raw_case)
    _columns_into_tables(raw_case)
    if problems := with_label_models(raw_case, path.absolute().parent, look_up=check_paths):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    if problems := with_divided_datasets(raw_case):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    if problems := with_listed_vocabularies(raw_case, path.absolute().parent, look_up=check_paths):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    if problems := with_plain_tables(raw_case, path.absolute().parent, read_yaml):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    try:
        case = Case.model_validate(raw_case)
    except ValidationError as error:
        raise UserError("\n".join(f"{path}: {problem}" for problem in _described(error, raw_case))) from None
    from pipelines.case.checks import check_case
    from pipelines.case.notes import case_notes

    problems = []
    if check_paths:
        case, problems = with_named_weights(case)
    if problems := problems + check_case(case, check_paths=check_paths):
        raise UserError("\n".join(f"{path}: {problem}" for problem in problems))
    for words in case_notes(case):
        note(f"{path}: {words}")
    return with_pretrained_scaling(with_device(case) if check_paths else case, look_up=check_paths)


def as_yaml(case: Case) -> str:
    """Return the text of a case file that holds this case."""
    content = case.model_dump(mode="json", by_alias=True, exclude_none=True)
    # libyaml writes the same, in a third of the time, where it is there.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(content, Dumper=dumper, sort_keys=False, allow_unicode=True))


def _apply(raw_case: dict[str, Any], override: str, path: Path, *, resolve: bool) -> None:
    key_path, equals, text = override.partition("=")
    if not equals or not key_path:
        raise UserError(f"--set {override}: not of the form key.path=value; expected such as training.steps=100")
    value = parse_yaml(text, f"--set {override:.200}")
    if (
        resolve
        and key_path in ("data_root", "storage.path", "storage.blocks")
        and isinstance(value, str)
        and "://" not in value
    ):
        value = str(Path(value).absolute())
    of_a_rule = key_path.startswith("datasets.") and ".labels." in key_path and key_path.endswith(".model")
    if resolve and of_a_rule and isinstance(value, str) and "://" not in value:
        value = str(Path(value).absolute())
    if resolve and key_path in NETWORK_PATHS:
        value = absolute_network_path(key_path, value, Path.cwd())
    *parents, last = key_path.split(".")
    place: Any = raw_case
    for i, name in enumerate(parents):
        key = _key_in(place, name, parents[:i], override)
        if isinstance(place, dict) and place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[_key_in(place, last, parents, override)] = value


def _key_in(place: Any, name: str, parents: Sequence[str], override: str) -> Any:
    """Return the key of a section that is written ``name``: a place in a list, or a key that YAML may have read as
    a number."""
    section = ".".join(parents)
    if isinstance(place, list):
        if not name.isdigit() or int(name) >= len(place):
            right = f"a number from 0 to {len(place) - 1}"
            raise UserError(f"--set {override}: {section} is a list of {len(place)}; found {name!r}; expected {right}")
        return int(name)
    if not isinstance(place, dict):
        raise UserError(
            f"--set {override}: {section} is {place!r} in the case file; expected a section with a key {name!r}"
        )
    return next((key for key in place if str(key) == name), name)


def _resolve_paths(raw_case: dict[str, Any], path: Path, *, resolve: bool) -> None:
    """Make data_root and storage.path absolute; an embedded case's data lie in its storage."""
    storage = raw_case.setdefault("storage", {})
    if isinstance(storage, dict):
        storage_path = storage.setdefault("path", "kindred-runs")
        if resolve and isinstance(storage_path, str) and "://" not in storage_path:
            storage["path"] = storage_path = str(Path(storage_path).absolute())
        blocks = storage.get("blocks")
        if resolve and isinstance(blocks, str) and "://" not in blocks:
            storage["blocks"] = str(Path(blocks).absolute())
        if raw_case.get("embedded") and raw_case.get("data_root") is None and isinstance(storage_path, str):
            raw_case["data_root"] = join(storage_path, "sources", raw_case["embedded"])
    if resolve:
        resolve_network_paths(raw_case, path.absolute().parent)
    root = raw_case.get("data_root")
    if resolve and (root is None or (isinstance(root, str) and "://" not in root)):
        raw_case["data_root"] = str((path.absolute().parent / (root or ".")).resolve())


# The default arms: single-task networks, joint training on the available labels alone, and joint training with
# training.matching.
_DEFAULT_ARMS: dict[str, Any] = {
    "single-task": {"networks": "one_per_task"},
    "naive": {"matching": "none"},
    "co-trained": {},
}
# Without relatedness there is nothing to co-train by: the last would be the one before it.
_DEFAULT_ARMS_WITHOUT_RELATEDNESS = {name: arm for name, arm in _DEFAULT_ARMS.items() if name != "co-trained"}
# The default arms where an edge leads from a multiclass task: its table can be read backwards without co-training.
_DEFAULT_ARMS_WITH_A_TABLE: dict[str, Any] = {
    "single-task": {"networks": "one_per_task"},
    "table": {"networks": "one_per_task", "infer": "table"},
    "single-task-fused": {"networks": "one_per_task", "fuse": "table"},
    "naive": {"matching": "none"},
    "naive-fused": {"matching": "none", "fuse": "table"},
    "co-trained": {},
}


def _default_arms(raw_case: Mapping[str, Any]) -> dict[str, Any]:
    edges, tasks = raw_case.get("relatedness"), raw_case.get("tasks")
    sources = [edge.get("from") for edge in edges if isinstance(edge, dict)] if isinstance(edges, list) else []
    kinds = [
        tasks[name].get("kind") for name in sources if isinstance(tasks, dict) and isinstance(tasks.get(name), dict)
    ]
    if not sources:
        arms = copy.deepcopy(_DEFAULT_ARMS_WITHOUT_RELATEDNESS)
    else:
        arms = copy.deepcopy(_DEFAULT_ARMS_WITH_A_TABLE if "multiclass" in kinds else _DEFAULT_ARMS)
    cold_baselines(raw_case, arms)
    return arms


def _merge_matching_into_arms(raw_case: dict[str, Any]) -> None:
    """An arm's matching starts from training.matching, so that an arm says only what differs; ``none`` stays."""
    if raw_case.get("arms") is None:
        raw_case["arms"] = _default_arms(raw_case)
    training, arms = raw_case.get("training"), raw_case.get("arms")
    if not isinstance(training, dict) or not isinstance(arms, dict):
        return
    for arm_name, arm in arms.items():
        if arm is None:
            arms[arm_name] = arm = {}
        if isinstance(arm, dict):
            arm["matching"] = _merged(training.get("matching") or {}, arm.get("matching", {}))
            if isinstance(arm.get("network"), dict) and isinstance(raw_case.get("network"), dict | None):
                arm["network"] = _network_of_arm(raw_case.get("network") or {}, arm["network"])


def _network_of_arm(network: dict[str, Any], arm: dict[str, Any]) -> dict[str, Any]:
    """Merge an arm's network over the case's; widths and options are another backbone's where it names another."""
    if arm.get("backbone", network.get("backbone")) != network.get("backbone"):
        of_backbone = ("widths", "options", "pretrained", "pretrained_sha256", "freeze_steps", "layer_decay")
        network = {key: value for key, value in network.items() if key not in of_backbone}
    elif "pretrained" in arm:
        network = {key: value for key, value in network.items() if key != "pretrained_sha256"}
    return _merged(network, arm)  # type: ignore[no-any-return]


def _choose_backbone(raw_case: dict[str, Any]) -> None:
    """The backbone follows the input where a case file names none: ``small_cnn`` cannot take vectors."""
    declared, network = raw_case.get("input"), raw_case.get("network")
    if isinstance(declared, dict) and declared.get("kind") == "vector" and isinstance(network, dict | None):
        raw_case["network"] = {"backbone": "mlp"} | (network or {})


_TABLES = ("csv", "json_lines", "parquet", "hugging_face")


def _columns_into_tables(raw_case: dict[str, Any]) -> None:
    """``input.columns`` is what every table's vectors come from, where it does not say otherwise itself."""
    declared, datasets = raw_case.get("input"), raw_case.get("datasets")
    if not isinstance(declared, dict) or not isinstance(datasets, dict) or not declared.get("columns"):
        return
    columns = columns_alone(declared["columns"])
    if not isinstance(columns, list | tuple):
        return
    default = {"missing": declared["missing"]} if isinstance(declared.get("missing"), str) else {}
    filled = [
        default | one if isinstance(one, dict) else {"name": str(one)} | default if default else one for one in columns
    ]
    for data_set in datasets.values():
        source = data_set.get("source") if isinstance(data_set, dict) else None
        if isinstance(source, dict) and source.get("kind") in _TABLES and not source.get("vector_columns"):
            source["vector_columns"] = copy.deepcopy(filled)


def _merged(base: Any, override: Any) -> Any:
    if isinstance(base, dict) and isinstance(override, dict):
        return base | {
            key: _merged(base[key], value) if key in base and key not in SCHEDULED else value
            for key, value in override.items()
        }
    return override


def _described(error: ValidationError, raw_case: Any) -> list[str]:
    """Say every mistake once: not what follows from another, nor an arm's copy of one in training.matching."""
    errors = error.errors()
    places = [problem["loc"] for problem in errors]
    common = {place[2:] for place in places if place[:2] == ("training", "matching")}
    return [
        _describe(problem, raw_case)
        for problem, place in zip(errors, places, strict=True)
        if not any(deeper[: len(place)] == place and len(deeper) > len(place) for deeper in places)
        and not (len(place) > 4 and place[0] == "arms" and place[2] == "matching" and place[4:] in common)
    ]


# Hints for keys that users look for in the wrong place, by the name that they would use.
_ELSEWHERE = {
    **dict.fromkeys(("lr", "learning_rate"), "the learning rate is training.optimizer.lr"),
    "weight_decay": "it is training.optimizer.weight_decay",
    "momentum": "it is training.optimizer.momentum",
    **dict.fromkeys(("warmup", "warmup_steps"), "it is training.schedule.warmup_steps"),
    **dict.fromkeys(
        ("epochs", "num_epochs", "max_epochs", "iterations", "max_steps"),
        "how long a run trains is training.steps, a number of updates",
    ),
    **dict.fromkeys(("gpu", "gpus", "use_gpu"), "it is training.device: cuda, and training.workers how many"),
    **dict.fromkeys(("dm", "sca", "ill"), "losses of related tasks are below training.matching, or an arm's matching"),
    **dict.fromkeys(("freeze", "freeze_backbone", "frozen"), "it is network.freeze_steps, with network.pretrained"),
    **dict.fromkeys(("layerwise_lr_decay", "lr_decay", "llrd"), "it is network.layer_decay, with network.pretrained"),
}
# The form of a section, by its class, for messages about a value of another type.
_FORMS = {
    "LabelRule": "{from: folder}, {from: column, column: NAME}, or {from: columns}",
    "RelatednessEdge": "{from: TASK, to: TASK, table: {CLASS: [LABEL, ...]}}",
    "DataSet": "{source: {kind: csv, path: PATH}, labels: {TASK: {from: columns}}}",
    "Training": "{steps: 1000, batch_size: 64}",
    "Optimizer": "{name: adamw, lr: 0.001}",
    "Network": "{backbone: mlp, widths: [64]}",
    "Arm": "{matching: none} or {networks: one_per_task}",
    "Matching": "{dm: {weight: 0.3}, sca: {weight: 1}}",
    "Best": "a metric, or {metric: mean}",
}
_EDGES = "expected a list of edges, [{from: TASK, to: TASK, table: {CLASS: [LABEL, ...]}}]"
_TASK = (
    "expected {kind: multiclass, classes: [...]}, {kind: multilabel, labels: [...]}, {kind: ordinal, classes: [...]} "
    "or {kind: regression}"
)


def _expected(kind: str, key: str, value: Any, context: dict[str, Any]) -> str | None:
    """Say the form that is right where one of another type was found; None where pydantic's words say it."""
    if kind == "tuple_type":
        example = f", such as [{value}]" if isinstance(value, (str, int, float)) else ""
        return _EDGES if key == "relatedness" else f"expected a list{example}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        if key.startswith("tasks."):
            return _TASK
        form = _FORMS.get(str(context.get("class_name")))
        return f"expected {form}" if form else "expected a mapping by name, {NAME: ...}"
    if kind.startswith("int_") or kind.startswith("float_"):
        return "expected a whole number" if kind.startswith("int_") else "expected a number"
    return None


def _describe(problem: Any, raw_case: Any) -> str:
    """Say one of pydantic's problems as: key: what was found; what would be right."""
    value, kind, message = problem["input"], problem["type"], problem["msg"]
    key = ".".join(_path_in_file(problem["loc"], raw_case, may_be_missing=kind not in ("unknown_key", "unknown_kind")))
    if kind == "unknown_key":
        mistake, _, hint = message.partition("; ")
        elsewhere = None if hint.startswith("did you mean") else _ELSEWHERE.get(problem["ctx"]["key"].strip("'"))
        return f"{key + ': ' if key else ''}{f'{mistake}; {elsewhere}' if elsewhere else message}"
    if kind == "missing":
        return f"{key}: missing; the key is needed"
    if kind in ("unknown_kind", "unknown_name"):
        return f"{key}{'.kind' if kind == 'unknown_kind' else ''}: {message}"
    context = problem.get("ctx", {})
    if kind == "literal_error" and context["expected"] == "'none'":
        right = f"expected none (no loss of related tasks), or a section such as {_FORMS['Matching']}"
    elif kind == "literal_error":
        right = f"expected one of {context['expected']}"
    elif kind.startswith("union_tag"):
        value = value.get("kind") if isinstance(value, dict) else value
        expected = str(context.get("expected_tags", "a mapping with the key 'kind'")).replace("'", "")
        key = f"{key}.kind"
        right = f"expected one of {expected}{did_you_mean(value, expected.split(', ')) if value else ''}"
    elif isinstance(value, bool) and kind.startswith("string"):
        right = "expected text (YAML reads yes, no, on and off as truth values: put it in quotes)"
    elif kind == "string_pattern_mismatch":
        right = "expected letters, digits, '_' and '-', a letter or digit first"
    else:
        right = _expected(kind, key, value, context) or message[0].lower() + message[1:]
    return f"{key}: found {value!r}; {right}"


def _path_in_file(loc: Sequence[int | str], raw_case: Any, *, may_be_missing: bool) -> list[str]:
    """Drop from pydantic's location what does not stand in the file (the names of union members)."""
    keys: list[str] = []
    place = raw_case
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(place, dict):
            file_key = next((key for key in place if key == part or str(key) == str(part)), None)
            if file_key is not None:
                place = place[file_key]
                keys.append(str(part))
            elif last and may_be_missing and part not in ("[key]",):
                keys.append(str(part))
        elif isinstance(place, list | tuple) and isinstance(part, int) and part < len(place):
            place = place[part]
            keys.append(str(part))
    return keys
