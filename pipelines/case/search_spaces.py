"""The search spaces of ``kindred tune``: the modules of tune_spaces, a mapping in the case file, and a user's own."""

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mtlcore.registry import Registry
from mtlcore.suggestions import did_you_mean
from pipelines.case.search_parameters import Parameter, parameter_of
from tune_spaces import space_names

if TYPE_CHECKING:
    from pipelines.case.case import Case

# The protocol: a function without arguments, or of the case as plain values, that returns by dotted key of the case how
# its values are drawn: as a case file says it, as sampling functions of ray.tune, or as distributions of Optuna.
SEARCH_SPACES: Registry[Callable[..., Mapping[str, Any]]] = Registry(
    "search space", "kindred.search_spaces", {name: f"tune_spaces.{name}:space" for name in space_names()}
)

# The protocol: called with a SearchPlan, returns a Searcher, both of pipelines.search.search_plan; one of Optuna's
# samplers and of Ray Tune's searchers will do too.
SEARCHERS: Registry[Callable[..., Any]] = Registry(
    "searcher",
    "kindred.searchers",
    {
        "optuna": "pipelines.search.optuna_searcher:optuna_searcher",
        "random": "pipelines.search.searchers:RandomSearcher",
        "grid": "pipelines.search.searchers:GridSearcher",
        # What a population begins with; the rest: pipelines.search.population.
        "pbt": "pipelines.search.searchers:RandomSearcher",
    },
)

# Data and tasks make another problem, and the rest says nothing of a trial or is the search's own.
_NOT_SEARCHED = (
    *("name", "embedded", "data_root", "input", "tasks", "datasets", "evaluation"),
    *("tuning", "ingest", "storage", "logging"),
)
_MATCHING = "training.matching"


def load_space(space: str | Mapping[str, Any], content: Mapping[str, Any], arm: str) -> dict[str, Parameter]:
    """Return a search space: how values are drawn, by dotted key of the case.

    Args:
        space: its name, or what it is.
        content: the case as plain values.
        arm: the tuned arm, below whose ``matching`` a key may be written in short: ``dm.tau``.

    Raises:
        ValueError: there is none of that name, it fails or is empty, or a key of it is none of the case's.
    """
    named = f"found {space!r}, " if isinstance(space, str) else ""
    made = _made(space, content) if isinstance(space, str) else space
    if not isinstance(made, Mapping) or not made:
        raise ValueError(f"{named}which returned {made!r}; expected a mapping of keys to how their values are drawn")
    found: dict[str, Parameter] = {}
    for short, how in made.items():
        key = _whole_key(str(short), content, arm)
        if problem := _problem_of(key, content):
            raise ValueError(f"{named}which searches {short!r}{problem}" if named else f"{short}: no such key{problem}")
        try:
            found[key] = parameter_of(how)
        except ValueError as error:
            raise ValueError(f"{named or ''}{short}: {error}") from None
    return _in_order(found)


def _made(name: str, content: Mapping[str, Any]) -> Any:
    make = SEARCH_SPACES[name]
    try:
        return make(content) if inspect.signature(make).parameters else make()
    except Exception as error:  # user code may raise anything
        raise ValueError(f"found {name!r}, and it failed: {type(error).__name__}: {error}") from error


def _whole_key(key: str, content: Mapping[str, Any], arm: str) -> str:
    """Return a key of the case: ``dm.tau`` is below the matching."""
    first = key.partition(".")[0]
    if first in content:
        return key
    matching = (content["arms"].get(arm) or {}).get("matching")
    matching = matching if isinstance(matching, Mapping) else content["training"]["matching"]
    return f"{_MATCHING}.{key}" if first in matching else key


def _problem_of(key: str, content: Mapping[str, Any]) -> str | None:
    """Say why a key cannot be searched, None where it can."""
    *parents, last = key.split(".")
    first = key.partition(".")[0]
    if first in _NOT_SEARCHED or key == "training.seeds":
        return f"; expected a key of {', '.join(name for name in content if name not in _NOT_SEARCHED)}"
    place: Any = content
    for name in [*parents, last]:
        if isinstance(place, list):
            if not name.isdigit() or int(name) >= len(place):
                return f"; expected a number under {len(place)} where {name!r} stands"
            place = place[int(name)]
        elif isinstance(place, Mapping):
            # What a case has by name (a task's weight, an option of one's own) need not be there yet.
            if name not in place and not (parents and parents[-1] in ("task_weights", "options")):
                near = [*place, *(f"{_MATCHING}.{short}" for short in _matching_keys(content))]
                return did_you_mean(key if not parents else name, near)
            place = place.get(name)
        elif place is not None:
            return f"; {name!r} has nothing above it that has keys"
        else:
            return None  # a section that the case leaves out: the trial's case is validated as a whole
    return None


def _matching_keys(content: Mapping[str, Any]) -> list[str]:
    matching = content["training"]["matching"]
    return [f"{part}.{key}" for part, of in matching.items() if isinstance(of, Mapping) for key in of]


def _in_order(space: Mapping[str, Parameter]) -> dict[str, Parameter]:
    """Return a space with every key after those that it depends on.

    Raises:
        ValueError: a condition names a key that is not searched, or keys wait for each other.
    """
    ordered: dict[str, Parameter] = {}
    waiting = dict(space)
    while waiting:
        ready = [key for key, of in waiting.items() if set(of.when) <= set(ordered)]
        if not ready:
            key, of = next(iter(waiting.items()))
            missing = [other for other in of.when if other not in space] or list(of.when)
            near = did_you_mean(missing[0], list(space))
            raise ValueError(f"{key}: when: found {missing[0]!r}, which is not searched before it{near}")
        ordered |= {key: waiting.pop(key) for key in ready}
    return ordered


def check_space(space: str | Mapping[str, Any], case: "Case", arm: str) -> None:
    """Check a search space against a case.

    Raises:
        ValueError: there is none of that name, or a key of it is none of the case's.
    """
    if isinstance(space, str):
        SEARCH_SPACES.check_name(space)
        if space in SEARCH_SPACES:
            return  # ours: they fit, and are looked at where they are used
    load_space(space, case.model_dump(mode="json", by_alias=True), arm)
