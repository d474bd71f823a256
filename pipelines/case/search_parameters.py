"""One searched key of a case: how its values are drawn, in the forms of the case file, of ray.tune and of Optuna."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipelines.base.section import number_of

_LARGEST_WHOLE = 2**53
_FORMS = (
    "expected {loguniform: [low, high]}, {uniform: [low, high]}, {randint: [low, high]} or {choice: [value, ...]}, and "
    "perhaps when: {KEY: VALUE}"
)


@dataclass(frozen=True)
class Parameter:
    """How a key's values are drawn.

    Attributes:
        kind: the distribution.
        low: its low end; of a choice nothing.
        high: its high end, which ``randint`` may draw too.
        values: of a choice.
        when: drawn only where each of these other keys has one of these values.
    """

    kind: Literal["uniform", "loguniform", "randint", "choice"]
    low: float = 0.0
    high: float = 0.0
    values: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        found: dict[str, Any] = {"kind": self.kind}
        found |= {"values": list(self.values)} if self.kind == "choice" else {"low": self.low, "high": self.high}
        return found | ({"when": {key: list(values) for key, values in self.when.items()}} if self.when else {})

    def applies(self, settings: Mapping[str, Any]) -> bool:
        """Say whether it is drawn beside these settings."""
        return all(key in settings and settings[key] in values for key, values in self.when.items())

    def at(self, share: float) -> Any:
        """Return the value at a share of the way, in [0, 1), through the distribution."""
        if self.kind == "choice":
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        if self.kind == "randint":
            return int(self.low) + min(int(share * (self.high - self.low + 1)), int(self.high - self.low))
        if self.kind == "uniform":
            return self.low + share * (self.high - self.low)
        return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))

    def holds(self, value: Any) -> bool:
        """Say whether it may draw a value."""
        if self.kind == "choice":
            return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in self.values)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= value <= self.high

    def may_hold(self, value: Any) -> bool:
        """Say whether a value, as JSON gives it back, is of a choice, or else a number: no searcher goes beyond."""
        if self.kind == "choice":
            return any(json.dumps(value) == json.dumps(one) for one in self.values)
        return isinstance(value, (int, float)) and not isinstance(value, bool)


def parameter_of(how: Any) -> Parameter:
    """Return the parameter of any of the forms.

    Args:
        how: a mapping as in a case file, a sampling function of ray.tune (or its ``grid_search``), or a distribution of
            Optuna.

    Raises:
        ValueError: it is none of these; says what was found.
    """
    if isinstance(how, Mapping):
        return _of_mapping(how)
    module = type(how).__module__
    if module.startswith("ray.tune"):
        return _of_ray(how)
    if module.startswith("optuna"):
        return _of_optuna(how)
    raise ValueError(f"found {how!r}; {_FORMS}")


def _of_mapping(how: Mapping[str, Any]) -> Parameter:
    kinds = [key for key in how if key != "when"]
    if kinds == ["grid_search"]:
        return _choice(how["grid_search"])
    if len(kinds) != 1 or kinds[0] not in ("uniform", "loguniform", "randint", "choice"):
        raise ValueError(f"found {dict(how)!r}; {_FORMS}")
    (kind,) = kinds
    when = how.get("when") or {}
    if not isinstance(when, Mapping):
        raise ValueError(f"when: found {when!r}; expected {{KEY: VALUE}} or {{KEY: [VALUE, ...]}}")
    conditions = {str(key): tuple(_plain(of if isinstance(of, (list, tuple)) else [of])) for key, of in when.items()}
    if kind == "choice":
        return _choice(how[kind], conditions)
    ends = _plain(how[kind])
    if not isinstance(ends, (list, tuple)) or len(ends) != 2 or not all(map(_is_number, ends)):
        raise ValueError(f"{kind}: found {ends!r}; expected [low, high], two numbers")
    low, high = float(ends[0]), float(ends[1])
    return _range(kind, low, high - 1 if kind == "randint" else high, conditions)


def _range(kind: Any, low: float, high: float, when: Mapping[str, tuple[Any, ...]] | None = None) -> Parameter:
    if kind == "randint" and math.isfinite(low) and math.isfinite(high) and (low != int(low) or high != int(high)):
        raise ValueError(f"randint: found ends {low:g} and {high + 1:g}; expected whole numbers")
    if kind == "randint" and max(abs(low), abs(high)) > _LARGEST_WHOLE:
        raise ValueError(f"randint: found ends {low:g} and {high + 1:g}; expected whole numbers of at most 2^53")
    if not (math.isfinite(low) and math.isfinite(high)) or low > high or (low == high and kind != "randint"):
        raise ValueError(f"{kind}: found [{low:g}, {high:g}]; expected a low end and a higher one")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"loguniform: found a low end of {low:g}; expected one over 0")
    return Parameter(kind, low, high, when=when or {})


def _choice(values: Any, when: Mapping[str, tuple[Any, ...]] | None = None) -> Parameter:
    if not isinstance(values, (list, tuple)) or not values:
        raise ValueError(f"choice: found {values!r}; expected a list of values")
    plain = tuple(_plain(value) for value in values)
    for value in plain:
        if not _is_finite(value):
            raise ValueError(f"choice: found {value!r}; expected values that JSON can hold")
    return Parameter("choice", values=plain, when=when or {})


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return number_of(value) if isinstance(value, str) else value


def _is_finite(value: Any) -> bool:
    """Say whether a value holds no number that is none: it would be equal to nothing, and null in the records."""
    try:
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError):
        return False
    return True


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _of_ray(how: Any) -> Parameter:
    sampler = type(how.get_sampler()).__name__.strip("_")
    if hasattr(how, "categories"):
        return _choice(list(how.categories))
    kind = {
        ("Float", "Uniform"): "uniform",
        ("Float", "LogUniform"): "loguniform",
        ("Integer", "Uniform"): "randint",
    }.get((type(how).__name__, sampler))
    if kind is None:
        raise ValueError(f"found {how!r} of ray.tune; expected choice, uniform, loguniform or randint")
    return _range(kind, float(how.lower), float(how.upper) - (kind == "randint"))


def _of_optuna(how: Any) -> Parameter:
    if hasattr(how, "choices"):
        return _choice(list(how.choices))
    if how.step not in (None, 1) or (how.log and type(how).__name__ == "IntDistribution"):
        raise ValueError(f"found {how!r}; expected a distribution of Optuna without steps, whole numbers without log")
    whole = type(how).__name__ == "IntDistribution"
    return _range("randint" if whole else "loguniform" if how.log else "uniform", float(how.low), float(how.high))
