"""The search spaces of ``kindred tune``: the modules of tune_spaces, and a user's own."""

from collections.abc import Callable, Mapping
from typing import Any

from mtlcore.registry import Registry
from tune_spaces import space_names

# The protocol: a function without arguments that returns sampling functions of ray.tune by key below an arm's
# ``matching``, such as ``sca.weight``.
SEARCH_SPACES: Registry[Callable[[], Mapping[str, Any]]] = Registry(
    "search space", "kindred.search_spaces", {name: f"tune_spaces.{name}:space" for name in space_names()}
)


def load_space(name: str) -> dict[str, Any]:
    """Return a search space: sampling functions by key.

    Raises:
        ValueError: there is none of that name, or it fails or is empty.
    """
    make = SEARCH_SPACES[name]
    try:
        space = make()
    except Exception as error:  # user code may raise anything
        raise ValueError(f"found {name!r}, and it failed: {type(error).__name__}: {error}") from error
    if not isinstance(space, Mapping) or not space:
        raise ValueError(f"found {name!r}, which returned {space!r}; expected a mapping of keys to sampling functions")
    return dict(space)


def check_space(name: str, matching: Mapping[str, Any]) -> None:
    """Check a search space; one of tune_spaces only by its name, since Ray Tune takes seconds to import.

    Args:
        name: of the space.
        matching: the tuned arm's, as keys and values.

    Raises:
        ValueError: there is none of that name, or a key of it is none of the arm's.
    """
    SEARCH_SPACES.check_name(name)
    if name in SEARCH_SPACES:
        return
    searchable = [f"{section}.{key}" for section, keys in matching.items() if isinstance(keys, Mapping) for key in keys]
    for key in load_space(name):
        if key not in searchable:
            from mtlcore.suggestions import did_you_mean

            raise ValueError(f"found {name!r}, which searches {key!r}{did_you_mean(key, searchable)}")
