"""Splits of one source: what a case file says, and the datasets that it stands for."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipelines.base.section import Number, Section, one_or_more

SPLITS = ("train", "validation", "test")
Fraction = Annotated[float, Field(ge=0, le=1), Number]


class Split(Section):
    """Divide a source's rows into parts for training, validation and the test.

    By ``fractions``, or into ``folds``: every arm is then trained once a fold, and reported over all of them; each fold
    is the test part once, and of the other rows ``fractions.validation`` is for validation. Rows with the same value in
    the column ``by`` (a subject, a video) stay together, and so do rows of one image. ``stratify`` keeps the shares of
    these tasks' labels alike in all parts; ``time`` trains on what was first and tests on what was last, and rows of
    one time stay together. The same ``seed`` gives the same parts.

    ``joint`` divides several tables as one: the value in ``by`` alone decides, through a hash of it and the seed, so
    that a subject is in the same part of every table that is divided so, whatever its column is called there, and
    stays there when rows are added. The shares are then kept on average over subjects.
    """

    fractions: dict[Literal["train", "validation", "test"], Fraction] = {}
    """The share of rows of each part, summing to 1; with folds that of ``validation`` alone."""
    by: str | None = None
    """A column: rows with the same value stay together."""
    stratify: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """Tasks whose labels are shared out evenly."""
    time: str | None = None
    """A column of numbers or of dates like 2026-01-31: the earliest rows are for training, the last for the test."""
    folds: Annotated[int, Field(ge=2, le=100), Number] | None = None
    """Into how many folds, each of which is the test part once."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Decides which rows go where."""
    joint: bool = False
    """The value in ``by`` alone decides: several tables of the same subjects are divided alike."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        total = sum(self.fractions.values())
        if self.folds is None and (abs(total - 1) > 1e-6 or not self.fractions.get("train")):
            found = f"fractions: found a sum of {total:g}; expected train and others that sum to 1"
            raise PydanticCustomError("fractions", "{found}", {"found": found})
        if self.folds is not None and set(self.fractions) - {"validation"}:
            raise PydanticCustomError("fractions", "fractions: found beside folds; expected that of validation alone")
        if self.time is not None and (self.by or self.stratify or self.folds):
            raise PydanticCustomError("time", "time: found beside by, stratify or folds; expected time alone")
        if self.joint and (self.by is None or self.stratify):
            raise PydanticCustomError("joint", "joint: found without by, or with stratify; expected by alone")
        return self

    @model_serializer(mode="wrap")
    def _as_before_there_were_joint_splits(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: blocks and experiments are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        return content if self.joint else {key: value for key, value in content.items() if key != "joint"}

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that have rows, in the order train, validation, test."""
        if self.folds is not None:
            return SPLITS if self.fractions.get("validation") else ("train", "test")
        return tuple(name for name in SPLITS if self.share(name))

    def share(self, part: str) -> float:
        """Return a part's share of the rows."""
        return {str(name): share for name, share in self.fractions.items()}.get(part, 0.0)


class Part(Split):
    """A part of a split: what a dataset that is to be divided becomes when a case file is read."""

    of: Literal["train", "validation", "test"]
    """Which part."""
    fold: Annotated[int, Field(ge=0), Number] | None = None
    """Which fold is the test part, where there are folds."""


def with_divided_datasets(raw_case: dict[str, Any]) -> list[str]:
    """Replace, in a case as it was read, every dataset whose ``split`` is a section by one dataset a part.

    The part for training keeps the name, the others are called ``<name>-validation`` and ``<name>-test``.

    Args:
        raw_case: the content of the case file, before its validation; changed in place.

    Returns:
        what is wrong, one line per mistake.
    """
    datasets, problems = raw_case.get("datasets"), []
    if not isinstance(datasets, dict):
        return []
    divided: dict[str, Any] = {}
    for name, data_set in datasets.items():
        split = data_set.get("split") if isinstance(data_set, dict) else None
        if not isinstance(split, dict):
            divided[name] = data_set
            continue
        try:
            settings = Split.model_validate(split)
        except ValidationError as error:
            for problem in error.errors():
                place = "".join(f".{key}" for key in problem["loc"])
                problems.append(f"datasets.{name}.split{place}: {problem['msg']}")
            continue
        fold = {"fold": 0} if settings.folds else {}
        for part in settings.parts:
            called = name if part == "train" else f"{name}-{part}"
            if called != name and called in datasets:
                problems.append(
                    f"datasets.{name}.split: its part {called!r} is a dataset already; expected no such one"
                )
            divided[called] = data_set | {"split": part, "part": split | {"of": part} | fold}
    raw_case["datasets"] = divided
    return problems + _other_joint_splits(datasets)


def _other_joint_splits(datasets: dict[str, Any]) -> list[str]:
    """Say where splits that are to divide alike do not: only the same seed and shares put a subject in one part."""
    joint = {
        name: {key: split.get(key) or 0 for key in ("fractions", "folds", "seed")}
        for name, data_set in datasets.items()
        if isinstance(data_set, dict)
        and isinstance(split := data_set.get("split"), dict)
        and split.get("joint") is True
    }
    first = next(iter(joint), None)
    return [
        f"datasets.{name}.split.joint: found another {key} than in datasets.{first}; expected the same in all"
        for name, settings in joint.items()
        for key, value in settings.items()
        if value != joint[str(first)][key]
    ]
