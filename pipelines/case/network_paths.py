"""Resolve paths in the network section: relative to the case file, or to the working directory with --set."""

from pathlib import Path
from typing import Any

KEYS = ("network.backbone", "network.pretrained")


def absolute_network_path(key: str, value: Any, base: Path) -> Any:
    """Return a backbone or pretrained weights with the path in it absolute; a name on a hub stays as it is.

    A path is what begins with a dot, ends in .json or .safetensors, or lies below ``base``.
    """
    if not isinstance(value, str):
        return value
    prefix = "hf:" if key == "network.backbone" else ""
    place = value.removeprefix(prefix)
    if not value.startswith(prefix) or not place:
        return value
    is_path = place.startswith(".") or place.endswith((".json", ".safetensors")) or (base / place).exists()
    return f"{prefix}{(base / place).resolve()}" if is_path else value


def resolve_network_paths(raw_case: dict[str, Any], base: Path) -> None:
    """Make the paths of a case's network section, and of its arms' own, absolute, in place."""
    arms = raw_case.get("arms")
    of_arms = [arm for arm in arms.values() if isinstance(arm, dict)] if isinstance(arms, dict) else []
    for section in (raw_case.get("network"), *(arm.get("network") for arm in of_arms)):
        for key in KEYS:
            name = key.removeprefix("network.")
            if isinstance(section, dict) and name in section:
                section[name] = absolute_network_path(key, section[name], base)
    for arm in of_arms:
        if "pretrained" in arm:
            arm["pretrained"] = absolute_network_path("network.pretrained", arm["pretrained"], base)
