"""The mean and spread that a pretrained model's images had: the default of a case that starts from its weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtlcore.exported import is_exported, read_description
from mtlcore.networks.hugging_face_files import hub_file
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.case.network import Network

Scaling = tuple[tuple[float, ...], tuple[float, ...]]
_FILE = "preprocessor_config.json"


def with_pretrained_scaling(case: Case, *, look_up: bool = True) -> Case:
    """Let a case's images have the mean and spread that its pretrained model was trained with, if it says no others.

    Args:
        case: the case.
        look_up: False where another machine has the model: the case then says ``pretrained``, and is resolved there.
    """
    declared = case.input
    if not isinstance(declared, PictureInput):
        return case
    open_keys = [
        key
        for key in ("mean", "std")
        if getattr(declared, key) == "pretrained" or (case.network.pretrained and key not in declared.model_fields_set)
    ]
    if not open_keys:
        return case
    if not look_up:
        words: dict[str, Any] = dict.fromkeys(open_keys, "pretrained")
    else:
        scaling = pretrained_scaling(case.network, declared.channels)
        defaults = {key: PictureInput.model_fields[key].default for key in open_keys}
        words = defaults if scaling is None else dict(zip(("mean", "std"), scaling, strict=True))
    changed = declared.model_copy(update={key: words[key] for key in open_keys})
    return case.model_copy(update={"input": changed})


def scaling_warning(case: Case) -> str | None:
    """Say it where images are scaled otherwise than those that the network's weights were trained with."""
    if not isinstance(case.input, PictureInput) or not case.network.pretrained:
        return None
    scaling = pretrained_scaling(case.network, case.input.channels)
    if scaling is None:
        return None
    n = case.input.channels
    current = [value if isinstance(value, tuple) else (value,) * n for value in (case.input.mean, case.input.std)]
    if "measured" in (case.input.mean, case.input.std) or np.allclose(
        np.array(current, dtype=float), scaling, atol=1e-3
    ):
        return None
    mean, std = ("[" + ", ".join(f"{number:.3g}" for number in numbers) + "]" for numbers in scaling)
    return (
        f"input.mean and input.std are not those that {case.network.backbone} was trained with: mean {mean}, "
        f"std {std}; left out, these are used"
    )


def pretrained_scaling(network: Network, channels: int) -> Scaling | None:
    """Return mean and spread, a number a channel, of the images that a network's weights were trained on.

    None where nobody knows: weights of one's own, or a model that does not say.
    """
    if isinstance(network.pretrained, str) and is_exported(network.pretrained):
        return _of_export(network.pretrained, channels)
    kind, _, name = network.backbone.partition(":")
    if channels != 3 or not network.pretrained:
        return None
    if kind == "hf":
        source = network.pretrained if isinstance(network.pretrained, str) else name
        scaling = None if source.endswith(".safetensors") else _of_hugging_face(source)
    else:
        scaling = _of_timm(name) if kind == "timm" and network.pretrained is True else None
    try:
        mean, std = (tuple(float(number) for number in numbers) for numbers in scaling or ((), ()))
    except (TypeError, ValueError):
        return None
    return (mean, std) if len(mean) == len(std) == channels and min(std) > 0 else None


def _of_export(folder: str, channels: int) -> Scaling | None:
    exported = read_description(folder).input
    if exported.get("channels") != channels:
        return None
    mean, std = (
        tuple(float(n) for n in (value if isinstance(value, list) else [value] * channels))
        for value in (exported["mean"], exported["std"])
    )
    return mean, std


def _of_hugging_face(source: str) -> Any:
    place = Path(source)
    try:
        file = (place if place.is_dir() else place.parent) / _FILE if place.exists() else hub_file(source, _FILE)
        config = json.loads(file.read_bytes()) if file and file.is_file() else {}
    except (OSError, ValueError, RecursionError, ImportError):
        return None  # no such package, no network, no such file: building the network says what matters
    known = isinstance(config, dict) and {"image_mean", "image_std"} <= set(config)
    return (config["image_mean"], config["image_std"]) if known else None


def _of_timm(name: str) -> Any:
    try:
        import timm

        config = timm.get_pretrained_cfg(name)
    except Exception:  # building the network says what is wrong with the name
        return None
    return None if config is None else (config.mean, config.std)
