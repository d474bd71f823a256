"""Section: the immutable pydantic base class of the case file's sections."""

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mtlcore.suggestions import did_you_mean

_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def number_of(text: str) -> str | float:
    """Return text such as ``1e-4``, a number in YAML 1.2 and a text in 1.1, as a number; other text as it is."""
    return float(text) if _SCIENTIFIC.fullmatch(text) else text


def _number(value: object) -> object:
    """Refuse `yes` and `true` for a number: Python would take them for 1. Text like 1e4 is a number in YAML 1.2."""
    if isinstance(value, bool):
        raise PydanticCustomError("truth_value", "expected a number")
    return number_of(value) if isinstance(value, str) else value


Number = BeforeValidator(_number)
# What float64 and float32 hold: beyond, what the case says is not what is computed.
_LARGEST_WHOLE, _LARGEST = 2**53, 3e38
Positive = Annotated[int, Field(ge=1, le=_LARGEST_WHOLE), Number]
PositiveFloat = Annotated[float, Field(gt=0, le=_LARGEST, allow_inf_nan=False), Number]
# What torch takes for a seed.
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Weight = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False), Number]
Probability = Annotated[float, Field(ge=0, le=1), Number]


class Section(BaseModel):
    """A section of the case file: immutable, and a misspelt key is an error that names the nearest one."""

    # The texts below fields are read where the schema is made (pipelines/case/schema.py): pydantic itself would parse
    # the source of every section in every process that reads a case.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            refuse_unknown_keys(cls, value)
        return value


def refuse_unknown_keys(section: type[BaseModel], keys: Iterable[object]) -> None:
    """Refuse a key that is no field of a section, and name the nearest."""
    fields = section.model_fields
    for key in keys:
        if key in fields:
            continue
        known = {field.alias or name for name, field in fields.items()}
        if key not in known:
            raise PydanticCustomError(
                "unknown_key",
                "unknown key {key}{hint}",
                {"key": repr(key), "hint": did_you_mean(key, sorted(known))},
            )


def one_or_more(value: object) -> object:
    """Make a tuple of a word alone."""
    return (value,) if isinstance(value, str) else value


def kind_alone(value: object) -> object:
    """Make a section of a kind alone."""
    return {"kind": value} if isinstance(value, str) else value
