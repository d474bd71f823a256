"""A trial's settings: values by dotted key of the case, how they enter it, and what stands there now."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from mtlcore.suggestions import did_you_mean
from pipelines.base.errors import UserError
from pipelines.case.case import Case

# Keys of the case that an arm may have of its own: there, too, a setting has to come.
_OF_ARM = {
    "training.balancing": "balancing",
    "training.unlabelled": "unlabelled",
    "training.mixing": "mixing",
    "training.task_weights": "task_weights",
    "network.sharing": "sharing",
    "network.pretrained": "pretrained",
    "network": "network",
}


def with_case_settings(case: Case, settings: Mapping[str, Any]) -> Case:
    """Return the case with values by dotted key of the case file; what the tuned arm has of its own is set there too.

    Raises:
        UserError: there is no such key, or a value is wrong.
    """
    content = case.model_dump(mode="json", by_alias=True)
    # The shorter first: a section as a whole, then what is in it.
    for key, value in sorted(settings.items(), key=lambda item: item[0].count(".")):
        for way in _ways(key, content["arms"].get(case.tuning.arm), case.tuning.arm):
            _set(content, way, value, key)
    try:
        return Case.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{where}: found {problem['input']!r:.60}; {problem['msg']}") from None


def _ways(key: str, arm: Mapping[str, Any] | None, name: str) -> list[list[str]]:
    ways = [key.split(".")]
    if arm is None:
        return ways
    if key.startswith("training.matching.") and isinstance(arm.get("matching"), dict):
        ways.append(["arms", name, *ways[0][1:]])
    for prefix, own in _OF_ARM.items():
        if (key == prefix or key.startswith(f"{prefix}.")) and arm.get(own) is not None:
            ways.append(["arms", name, own, *key.split(".")[prefix.count(".") + 1 :]])
            break
    return ways


def _set(content: dict[str, Any], way: list[str], value: Any, key: str) -> None:
    *parents, last = way
    place: Any = content
    for i, name in enumerate(parents):
        if isinstance(place, list):
            place = place[_index(name, place, key)]
            continue
        if not isinstance(place, dict) or name not in place:
            raise UserError(f"{key}: no such key of the case{did_you_mean(name, place)}")
        place[name] = {} if place[name] is None else place[name]
        place = place[name]
        if not isinstance(place, (dict, list)):
            raise UserError(f"{key}: {'.'.join(parents[: i + 1])} is {place!r} in the case; expected a section")
    place[_index(last, place, key) if isinstance(place, list) else last] = value


def _index(name: str, place: list[Any], key: str) -> int:
    if not name.isdigit() or int(name) >= len(place):
        raise UserError(f"{key}: found {name!r}; expected a number under {len(place)}")
    return int(name)


def current_values(case: Case, keys: Iterable[str]) -> dict[str, Any]:
    """Return what stands in the case for some keys, as the tuned arm has it; keys that are not there are left out."""
    content = case.model_dump(mode="json", by_alias=True)
    arm = content["arms"].get(case.tuning.arm)
    found = {}
    for key in keys:
        for way in reversed(_ways(key, arm, case.tuning.arm)):
            place: Any = content
            for name in way:
                if isinstance(place, list) and name.isdigit() and int(name) < len(place):
                    place = place[int(name)]
                elif isinstance(place, dict) and name in place:
                    place = place[name]
                else:
                    break
            else:
                found[key] = place
                break
    return found
