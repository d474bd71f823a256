"""A trial's settings: dotted keys below the tuned arm's ``matching``, or of the whole case, and how they enter it."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.case.case import Case


def with_settings(case: Case, settings: Mapping[str, Any]) -> Case:
    """Return the case with the tuned arm's matching changed; the keys are dotted, below ``matching``."""
    content = case.model_dump(mode="json", by_alias=True)
    for key, value in settings.items():
        section, name = key.split(".")
        content["arms"][case.tuning.arm]["matching"][section][name] = value
    return Case.model_validate(content)


def with_case_settings(case: Case, settings: Mapping[str, Any]) -> Case:
    """Return the case with values by dotted key of the case file; ``training.matching`` is the tuned arm's too.

    Raises:
        UserError: there is no such key, or a value is wrong.
    """
    content = case.model_dump(mode="json", by_alias=True)
    for key, value in settings.items():
        ways = [key.split(".")]
        if key.startswith("training.matching."):
            ways.append(["arms", case.tuning.arm, *ways[0][1:]])
        for *parents, last in ways:
            place: Any = content
            for name in parents:
                if not isinstance(place, dict) or name not in place:
                    raise UserError(f"{key}: no such key of the case{did_you_mean(name, place)}")
                place[name] = place[name] if place[name] is not None else {}
                place = place[name]
            if not isinstance(place, dict):
                raise UserError(f"{key}: {'.'.join(parents)} is {place!r} in the case; expected a section")
            place[last] = value
    try:
        return Case.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{where}: found {problem['input']!r:.60}; {problem['msg']}") from None


def current_values(case: Case, keys: Iterable[str]) -> dict[str, Any]:
    """Return the tuned arm's own settings for some keys."""
    matching = case.arms[case.tuning.arm].model_dump()["matching"]
    return {key: matching[key.split(".")[0]][key.split(".")[1]] for key in keys}
