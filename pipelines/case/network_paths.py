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
    """Make the paths of a case's network section absolute, in place."""
    section = raw_case.get("network")
    if isinstance(section, dict):
        for key in KEYS:
            name = key.removeprefix("network.")
            if name in section:
                section[name] = absolute_network_path(key, section[name], base)
