"""A weight or a temperature of the case file that changes with the step: ``{0: 0.3, 400: 1}``.

Each value holds from its step on until the next one. So between two changes a run is one of constants: its temperatures
stay numbers that a recorded step can hold, and what a population comes to (``tuning.search: pbt``), which changes
settings at some steps and not between, is written down as it was.

What is by step here has two values that differ at least: a mapping of one value is read as that value.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, WithJsonSchema, WrapValidator
from pydantic_core import PydanticCustomError

from pipelines.base.section import PositiveFloat, Weight

ByStep = float | dict[int, float]

_STEP = re.compile(r"\d{1,15}")


def _reads(limits: Any) -> Callable[[object, object], ByStep]:
    """Return what reads a number, or one by step; ``limits`` is the type of each number.

    In the place of pydantic's own reading of the two types, which would say of each what is wrong with it.
    """
    number = TypeAdapter(limits)

    def read(value: object, _: object) -> ByStep:
        if not isinstance(value, Mapping):
            return number.validate_python(value)  # type: ignore[no-any-return]
        texts = [str(step) for step in value]  # YAML has numbers as keys, JSON texts
        steps = [int(text) for text in texts if _STEP.fullmatch(text)]
        if len(steps) < len(texts) or not steps or steps[0] != 0 or steps != sorted(set(steps)):
            raise PydanticCustomError(
                "by_step", "expected a number, or steps that rise from 0 with their values, such as {0: 0.3, 400: 1}"
            )
        values = [number.validate_python(of) for of in value.values()]
        # What changes nothing is left out: {0: 0.3} is 0.3, and no other experiment.
        kept = {steps[i]: of for i, of in enumerate(values) if i == 0 or of != values[i - 1]}
        return kept if len(kept) > 1 else values[0]

    return read


def _schema(limits: Any) -> dict[str, Any]:
    number = TypeAdapter(limits).json_schema()
    steps = {"propertyNames": {"pattern": "^[0-9]+$"}, "minProperties": 1}
    return {"anyOf": [number, {"type": "object", "additionalProperties": number, **steps}]}


WeightByStep = Annotated[ByStep, WrapValidator(_reads(Weight)), WithJsonSchema(_schema(Weight))]
TemperatureByStep = Annotated[ByStep, WrapValidator(_reads(PositiveFloat)), WithJsonSchema(_schema(PositiveFloat))]

# The keys whose values are of these types.
_KEYS = re.compile(
    r"(training|arms\.[^.]+)\.(matching\.([^.]+\.weight|dm\.tau|sca\.tau_co)|task_weights\.[^.]+)"
    r"|relatedness\.\d+\.weight"
)
# Keys below an arm's matching that a mapping stands for as a whole: two schedules are not merged step by step.
SCHEDULED = ("weight", "tau", "tau_co")


def may_change(key: str) -> bool:
    """Say whether a dotted key of the case takes a value by step.

    Example:
        >>> may_change("training.matching.dm.tau"), may_change("training.batch_size")
        (True, False)
    """
    return _KEYS.fullmatch(key) is not None


def value_at(value: ByStep, step: int) -> float:
    """Return what holds in a step, counted from 0.

    Example:
        >>> [value_at({0: 0.3, 400: 1.0}, step) for step in (0, 399, 400)]
        [0.3, 0.3, 1.0]
    """
    if not isinstance(value, dict):
        return value
    return list(value.values())[bisect_right(list(value), step) - 1]


def largest(value: ByStep) -> float:
    """Return the largest value that ever holds."""
    return max(value.values()) if isinstance(value, dict) else value


def changes(values: Iterable[ByStep]) -> list[int]:
    """Return the steps at which any of the values may change, rising; 0 is none.

    Example:
        >>> changes([{0: 0.3, 400: 1.0}, 0.5, {0: 1.0, 200: 2.0}])
        [200, 400]
    """
    return sorted({step for value in values if isinstance(value, dict) for step in value} - {0})
