"""A case that starts from an export: what it leaves out is the export's, and the weights are named by their digest."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlcore.exported import Description, is_exported, read_description
from pipelines.base.progress import note
from pipelines.case.case import Case
from pipelines.case.start import trained_on, weights_file

_SCALING = ("mean", "std")


def fill_from_export(raw_case: dict[str, Any]) -> list[str]:
    """Give a case what it leaves out of an export's input and network, in place; return what is wrong.

    The input as a whole where there is none, else its scaling: the weights know inputs that are scaled so.
    """
    network = raw_case.get("network")
    if not isinstance(network, dict):
        return []
    place = network.get("pretrained")
    if not isinstance(place, str) or not is_exported(place):
        return []
    try:
        description = read_description(place)
    except ValueError as error:
        return [f"network.pretrained: {error}"]
    _fill_input(raw_case, description)
    return _fill_network(network, description, place)


def _fill_input(raw_case: dict[str, Any], description: Description) -> None:
    exported = description.input
    declared = raw_case.setdefault("input", dict(exported))
    if not isinstance(declared, dict) or declared.get("kind", "picture") != exported["kind"]:
        return
    if exported["kind"] == "vector" and not {"size", "columns"} & set(declared):
        declared |= {key: exported[key] for key in ("size", "columns", "missing") if exported.get(key)}
    same = (
        declared.get("channels", 3) == exported["channels"]
        if exported["kind"] == "picture"
        else declared.get("size", exported["size"]) == exported["size"]
    )
    if same:
        raw_case["input"] = {key: exported[key] for key in _SCALING} | declared


def _fill_network(network: dict[str, Any], description: Description, place: str) -> list[str]:
    exported = dict(description.network)
    kind, colon, _ = str(exported["backbone"]).partition(":")
    if kind == "hf":
        exported["backbone"] = f"hf:{Path(place) / 'backbone'}"
    elif colon and kind != "timm" and "backbone" not in network:
        return [
            f"network.backbone: missing; the export's is {exported['backbone']!r}, code that is run when the network "
            "is built; expected it named here, where you trust it"
        ]
    if network.get("backbone", exported["backbone"]) != exported["backbone"]:
        return []
    exported["head"] = {"hidden": exported.pop("head_hidden", [])}
    exported.pop("pretrained", None)
    for key, value in exported.items():
        if value is not None:
            network.setdefault(key, value)
    return []


def cold_baselines(raw_case: Mapping[str, Any], arms: dict[str, Any]) -> None:
    """Let default arms of networks of one task start from drawn weights where those of the case were co-trained."""
    network = raw_case.get("network")
    place = network.get("pretrained") if isinstance(network, dict) else None
    tasks = list(raw_case["tasks"]) if isinstance(raw_case.get("tasks"), dict) else []
    cold = [name for name, arm in arms.items() if arm.get("networks") == "one_per_task"]
    try:
        together = next((on for name in tasks if len(on := trained_on(place, [name])) > 1), ())
    except (OSError, ValueError):
        return  # reported where the network is built
    if together and cold:
        for name in cold:
            arms[name]["pretrained"] = False
        note(
            f"arms: {', '.join(cold)} start from drawn weights, since network.pretrained was trained on "
            f"{', '.join(together)} together; what the others gain over them is the start's too"
        )


def with_named_weights(case: Case) -> tuple[Case, list[str]]:
    """Return the case with the digest of every file of first weights, and what is wrong with those that it names."""
    problems: list[str] = []
    network = _named(case.network, "network", problems)
    arms = {}
    for name, arm in case.arms.items():
        changed = arm
        if arm.network is not None:
            changed = changed.model_copy(update={"network": _named(arm.network, f"arms.{name}.network", problems)})
        arms[name] = _named(changed, f"arms.{name}", problems)
    return case.model_copy(update={"network": network, "arms": arms}), problems


def _named(section: Any, key: str, problems: list[str]) -> Any:
    file = weights_file(section.pretrained) if isinstance(section.pretrained, str) else None
    if file is None or not file.is_file():
        if section.pretrained_sha256 is not None:
            problems.append(
                f"{key}.pretrained_sha256: found with pretrained {section.pretrained!r}; expected a .safetensors file "
                "or an export there"
            )
        return section
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if section.pretrained_sha256 not in (None, digest):
        problems.append(
            f"{key}.pretrained_sha256: found {section.pretrained_sha256}, and {file} has {digest}; expected the "
            "weights that it names, or no such key"
        )
    return section.model_copy(update={"pretrained_sha256": digest})


def columns_problem(case: Case, names: Sequence[str]) -> str | None:
    """Say where the case's columns are not those that the export's network knows, in their order."""
    place = case.network.pretrained
    if not isinstance(place, str) or not is_exported(place) or not names:
        return None
    known = [one["name"] for one in read_description(place).input.get("columns") or ()]
    if known and list(names) != known:
        return f"input.columns: found {', '.join(names)}; expected those of network.pretrained: {', '.join(known)}"
    return None
