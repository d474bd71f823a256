"""`kindred import`: a commented case file that starts from an export, for a person to add a task or data to."""

import os
from pathlib import Path
from typing import Any

import yaml

from mtlcore.exported import Description, is_exported, read_description
from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_small
from pipelines.base.plain_yaml import parse_yaml
from pipelines.case.training import Training

_FREEZE_STEPS = 100
_INPUT_KEYS = ("kind", "height", "width", "channels", "size", "fit", "columns", "missing")


def draft_start(export: str, out: str) -> str:
    """Write a case file that starts from an export; return its text. No code that the export names is run.

    Args:
        export: the folder of `kindred export`.
        out: the file to write; must not be there.

    Raises:
        UserError: there is no export, or the file is there.
    """
    file, place = Path(out), Path(export)
    if file.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out: found {out!r}; expected a file that ends in .yaml")
    if file.exists():
        raise UserError(f"--out: found {out!r}, which is there; expected a new file")
    if not is_exported(place):
        raise UserError(f"EXPORT: found {export!r}, and no network.json there; expected the folder of `kindred export`")
    try:
        description = read_description(place)
        case = parse_yaml(read_small(str(place / "case.yaml")).decode(), str(place / "case.yaml"))
    except (OSError, ValueError) as error:
        raise UserError(f"EXPORT: {error}") from None
    if not isinstance(case, dict):
        raise UserError(f"EXPORT: {place / 'case.yaml'}: found {type(case).__name__}; expected a case")
    text = _text(description, case, export, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return text


def _text(description: Description, case: dict[str, Any], export: str, file: Path) -> str:
    given = {key: description.input[key] for key in _INPUT_KEYS if description.input.get(key)}
    described = f"{description.case} ({description.arm}, seed {description.seed})"
    lines = [
        f"# Drafted by `kindred import` from {export}, {described}. Read it, add a task or data, then:",
        f"#   kindred inspect {file.name}     what is there, as the network will see it",
        f"#   kindred run {file.name}         train, evaluate, report",
        "# Every key: docs/case-file.md; starting from an export: docs/networks.md.",
        f"name: {file.stem if file.stem != description.case else f'{file.stem}-continued'}",
        "data_root: .                # what the paths of sources are relative to",
        "",
        "network:",
        f"  pretrained: {_flow(_place(export, file))}  # backbone, sharing, and the heads of its tasks",
        f"  freeze_steps: {_FREEZE_STEPS}         # at first new heads learn alone",
        "  # layer_decay: 0.75       # layers near the input learn more slowly",
        "",
        f"input: {_flow(given)}",
        "",
        "tasks:                      # those of the export go on as they are; a task that you add gets a new head:",
        "  # weather: {kind: multiclass, classes: [sun, rain]}",
        *_section(case.get("tasks")),
        "",
        "datasets:                   # where they lay when the export was made; name yours, and the tasks they label",
        *_section(case.get("datasets")),
    ]
    if case.get("relatedness"):
        lines += ["", "relatedness:", *_section(case["relatedness"])]
    training = case.get("training")
    usual = Training(steps=1, batch_size=1).model_dump(mode="json", by_alias=True)
    lines += ["", "training:", *_section(_pruned(training if isinstance(training, dict) else {}, usual))]
    return "\n".join(lines) + "\n"


def _place(export: str, file: Path) -> str:
    """Return where the export lies, seen from the case file; begins with a dot, which says that it is a path."""
    relative = os.path.relpath(export, file.absolute().parent)
    return relative if relative.startswith(".") else f"./{relative}"


def _pruned(content: Any, usual: Any) -> Any:
    """Leave out what is as it is by default, or empty."""
    if isinstance(content, dict):
        usual = usual if isinstance(usual, dict) else {}
        kept = {
            key: _pruned(value, usual.get(key))
            for key, value in content.items()
            if key not in usual or usual[key] != value or key in ("steps", "batch_size")
        }
        return {key: value for key, value in kept.items() if value not in (None, {}, [])}
    return content


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).split("\n")[0]


def _section(content: Any) -> list[str]:
    text = yaml.safe_dump(
        _pruned(content, None), sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
    return [f"  {line}" for line in text.rstrip().splitlines()]
