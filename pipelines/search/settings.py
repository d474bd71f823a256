"""A trial's settings: dotted keys below the tuned arm's ``matching``, and how they enter the case."""

from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.case.case import Case


def with_settings(case: Case, settings: Mapping[str, Any]) -> Case:
    """Return the case with the tuned arm's matching changed; the keys are dotted, below ``matching``."""
    content = case.model_dump(mode="json", by_alias=True)
    for key, value in settings.items():
        section, name = key.split(".")
        content["arms"][case.tuning.arm]["matching"][section][name] = value
    return Case.model_validate(content)


def current_values(case: Case, keys: Iterable[str]) -> dict[str, Any]:
    """Return the tuned arm's own settings for some keys."""
    matching = case.arms[case.tuning.arm].model_dump()["matching"]
    return {key: matching[key.split(".")[0]][key.split(".")[1]] for key in keys}
