"""The data sections of a case file: tasks, datasets, labels, inputs."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pipelines.base.section import Number, Positive, PositiveFloat, Section
from pipelines.sources.registry import Source


class MulticlassTask(Section):
    """Exactly one of ``classes`` holds; ``aliases`` are other words for them in sources (``happy: happiness``).

    An ``auxiliary`` task trains and is reported; it is left out of the mean gain and of what is exported for use.
    """

    kind: Literal["multiclass"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """The classes, in order."""
    aliases: dict[str, str] = {}
    """Other words for them in sources: word to class."""
    auxiliary: bool = False
    """Trained and reported only."""


class MultilabelTask(Section):
    """Each of ``labels`` holds or not; ``aliases`` and ``auxiliary`` as for a multiclass task."""

    kind: Literal["multilabel"]
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    """The labels, in order."""
    aliases: dict[str, str] = {}
    """Other words for them in sources: word to label."""
    auxiliary: bool = False
    """Trained and reported only."""


class LabelRule(Section):
    """Where a source's labels of a task stand.

    ``folder``: the name of the image's folder. ``column``: a column with a class, or with the labels that hold
    (a list, or a string separated by ``|``). ``columns``: one column per label, true or false, empty where unknown.
    With ``through`` what is found is a class of that task, and the relatedness table's row is the label.
    An empty cell means "not annotated", as do the codes in ``not_annotated`` (-1, 9, 999, ...). With ``threshold``,
    columns hold intensities, and a label holds from there on.
    """

    where: Literal["folder", "column", "columns"] = Field(alias="from")
    """The image's folder, one column, or a column a label."""
    column: str | None = None
    """The column, with ``from: column``."""
    through: str | None = None
    """The multiclass task whose class is read; the label is its row in the relatedness table."""
    not_annotated: tuple[str, ...] = ()
    """Codes that mean "not annotated", as an empty cell does."""
    threshold: Annotated[float, Field(allow_inf_nan=False), Number] | None = None
    """The intensity from which a label holds, with ``from: columns``."""


class Select(Section):
    """A part of a source: ``rows`` images from place ``start`` on, after a shuffle that ``shuffle_seed`` fixes."""

    rows: Positive
    """How many."""
    start: Annotated[int, Field(ge=0)] = 0
    """From which place of the shuffled rows on."""
    shuffle_seed: int = 0
    """Decides the order."""


class DataSet(Section):
    """A source, the tasks that it is labelled for, and what it is used for."""

    source: Source
    """Where its inputs and labels lie."""
    labels: Annotated[dict[str, LabelRule], Field(min_length=1)]
    """By task, where its labels stand."""
    split: Literal["train", "validation", "test"] = "train"
    """What it is used for."""
    select: Select | None = None
    """A part of the source."""


class PictureInput(Section):
    """What every image becomes: channels x height x width, scaled to (value / 255 - mean) / std."""

    kind: Literal["picture"] = "picture"
    """Images."""
    height: Positive
    """In pixels."""
    width: Positive
    """In pixels."""
    channels: Literal[1, 3] = 3
    """3: red, green, blue; 1: grey."""
    mean: float = 0.5
    """Subtracted from values in [0, 1]."""
    std: PositiveFloat = 0.25
    """What they are divided by then."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


class VectorInput(Section):
    """Inputs are ``size`` numbers each, scaled to (value - mean) / std."""

    kind: Literal["vector"]
    """Vectors."""
    size: Positive
    """How many numbers an input has."""
    mean: Annotated[float, Field(allow_inf_nan=False), Number] = 0.0
    """Subtracted."""
    std: PositiveFloat = 1.0
    """What they are divided by then."""

    @property
    def shape(self) -> tuple[int]:
        """(size,)."""
        return (self.size,)


def _input_kind(given: Any) -> str:
    return str(given.get("kind", "picture")) if isinstance(given, dict) else str(getattr(given, "kind", "picture"))


Input = Annotated[
    Annotated[PictureInput, Tag("picture")] | Annotated[VectorInput, Tag("vector")], Discriminator(_input_kind)
]
