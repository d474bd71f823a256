"""Datasets that share what another one says: one wide table as several datasets, without repeating it."""

import copy
from collections.abc import Mapping
from typing import Any

from mtlcore.suggestions import did_you_mean

KEY = "from"


def with_shared_keys(raw_case: dict[str, Any]) -> list[str]:
    """Replace, in a case as it was read, every dataset ``{from: OTHER, ...}`` by OTHER with the keys of its own.

    A key is taken or replaced as a whole; one that is null is left out.

    Args:
        raw_case: the content of the case file, before its validation; changed in place.

    Returns:
        what is wrong, one line per mistake.
    """
    datasets = raw_case.get("datasets")
    if not isinstance(datasets, dict):
        return []
    problems: list[str] = []
    whole = {name: _whole(name, datasets, problems) for name in datasets}
    raw_case["datasets"] = whole
    return problems


def _whole(name: str, datasets: Mapping[str, Any], problems: list[str]) -> Any:
    own, seen, other = datasets[name], [name], name
    if not isinstance(own, dict) or KEY not in own:
        return own
    made: dict[str, Any] = {}
    while isinstance(datasets[other], dict):
        made = {key: value for key, value in datasets[other].items() if key != KEY} | made
        if KEY not in datasets[other]:
            break
        following = datasets[other][KEY]
        if not isinstance(following, str) or following not in datasets:
            others = [known for known in datasets if known not in seen]
            near = did_you_mean(str(following), others)
            problems.append(f"datasets.{other}.from: found {following!r}; expected another dataset{near}")
            break
        if following in seen:
            problems.append(f"datasets.{name}.from: found a circle, {' -> '.join([*seen, following])}")
            break
        other = following
        seen.append(other)
    return {key: copy.deepcopy(value) for key, value in made.items() if value is not None}
