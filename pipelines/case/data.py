"""The data sections of a case file: tasks, datasets, labels, inputs."""

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from PIL import ImageColor
from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mtlcore.tasks import OrdinalLoss, RegressionLoss
from pipelines.base.section import Number, Positive, PositiveFloat, Section, Weight, kind_alone, one_or_more
from pipelines.case.crop import Crop, OwnCrop
from pipelines.case.split import Part
from pipelines.sources.registry import Source
from pipelines.sources.table_columns import Columns, TableColumn

_Side = Annotated[int, Field(ge=1, le=65_535), Number]  # of an image: formats' own bound
# What float32 holds, in which inputs and numbers are computed: beyond, they would become infinite, or a divisor 0.
_LARGEST, _SMALLEST = 3e38, 1e-37
_Finite = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False), Number]
_Spread = Annotated[float, Field(ge=_SMALLEST, le=_LARGEST, allow_inf_nan=False), Number]


def _several_numbers(value: object) -> object:
    """Make a tuple of a number alone."""
    return (value,) if isinstance(value, int | float | str) else value


class ClassLossOptions(Section):
    """A loss of classes or labels: ``kind`` alone, or with its settings; see mtlcore.class_loss and mtlcore.label_loss.

    ``focal`` is T.-Y. Lin et al.'s (ICCV 2017), ``asymmetric``, of labels, T. Ridnik et al.'s (ICCV 2021), with
    ``gamma`` 4 by default.
    """

    kind: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    """Which."""
    gamma: Weight | None = None
    """The focusing: 2 of ``focal``, 4 of ``asymmetric`` (of what does not hold) by default."""
    gamma_positive: Weight = 0.0
    """Of ``asymmetric``: the focusing of what holds."""
    margin: Annotated[float, Field(ge=0, lt=1), Number] = 0.05
    """Of ``asymmetric``: what does not hold and is as improbable is not counted."""
    smoothing: Annotated[float, Field(ge=0, lt=1), Number] = 0.0
    """Label smoothing."""


class MulticlassTask(Section):
    """Exactly one of ``classes`` holds; ``aliases`` are other words for them in sources (``happy: happiness``).

    An ``auxiliary`` task trains and is reported; it is left out of the mean gain and of what is exported for use.
    """

    kind: Literal["multiclass"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """The classes, in order; or ``{file: PATH}``, or ``{from: data}``: as they stand in the data."""
    aliases: dict[str, str] = {}
    """Other words for them in sources: word to class."""
    auxiliary: bool = False
    """Trained and reported only."""
    loss: Annotated[ClassLossOptions | None, BeforeValidator(kind_alone)] = None
    """How it is trained; cross-entropy by default."""
    class_weights: Literal["balanced", "effective"] | dict[str, Weight] | None = None
    """How much an input counts by its class: inversely to the class's training rows, to their effective number (Y. Cui
    et al., CVPR 2019), or numbers by class, 1 where there is none."""
    effective_beta: Annotated[float, Field(ge=0, lt=1), Number] = 0.999
    """Of ``effective``: how much rows of a class overlap."""


class MultilabelTask(Section):
    """Each of ``labels`` holds or not; ``aliases`` and ``auxiliary`` as for a multiclass task."""

    kind: Literal["multilabel"]
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    """The labels, in order; or ``{file: PATH}``, or ``{from: data}``."""
    aliases: dict[str, str] = {}
    """Other words for them in sources: word to label."""
    auxiliary: bool = False
    """Trained and reported only."""
    loss: Annotated[ClassLossOptions | None, BeforeValidator(kind_alone)] = None
    """How it is trained; cross-entropy by default."""
    pos_weight: Literal["balanced"] | PositiveFloat | dict[str, PositiveFloat] | None = None
    """How much what holds counts beside what does not: not held / held by label, a number, or numbers by label."""


class OrdinalTask(Section):
    """One of ``classes`` holds, which stand in an order, the lowest first; ``aliases`` and ``auxiliary`` as for a
    multiclass task.

    ``loss``: ``coral`` or ``cumulative``; see mtlcore.ordinal_loss.
    """

    kind: Literal["ordinal"]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """The classes, from low to high."""
    aliases: dict[str, str] = {}
    """Other words for them in sources: word to class."""
    auxiliary: bool = False
    """Trained and reported only."""
    loss: OrdinalLoss = "coral"
    """How it is trained."""


class RegressionTask(Section):
    """Numbers, by name in ``outputs``; without it one, called like the task.

    ``loss``: ``mse``, ``huber`` or ``gaussian``, which states a spread with each number; see mtlcore.regression_loss.
    The network learns (number - ``mean``) / ``spread``, which are those of the labels for training where the case says
    nothing else.
    """

    kind: Literal["regression"]
    outputs: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """The numbers' names; with ``from: columns``, the columns."""
    aliases: dict[str, str] = {}
    """Other names of their columns in sources: column to output."""
    auxiliary: bool = False
    """Trained and reported only."""
    loss: RegressionLoss = "mse"
    """How it is trained."""
    delta: PositiveFloat = 1.0
    """Of ``huber``: from how many spreads on an error counts linearly."""
    mean: Annotated[tuple[_Finite, ...] | None, BeforeValidator(_several_numbers)] = None
    """Subtracted, one number an output; that of the training labels by default."""
    spread: Annotated[tuple[_Spread, ...] | None, BeforeValidator(_several_numbers)] = None
    """What numbers are divided by then; the training labels' standard deviation by default."""


TaskSection = MulticlassTask | MultilabelTask | OrdinalTask | RegressionTask


def outputs_of(name: str, task: TaskSection) -> tuple[str, ...]:
    """Return the names of a task's classes, labels or numbers."""
    if isinstance(task, MulticlassTask | OrdinalTask):
        return task.classes
    return task.labels if isinstance(task, MultilabelTask) else task.outputs or (name,)


def _words_of(cells: object) -> object:
    """Write the keys of a mapping of cells as text: YAML reads 1 as a number, and yes, no, on and off as truths."""
    if not isinstance(cells, dict):
        return cells
    by_word: dict[Any, Any] = {}
    for key, value in cells.items():
        words = ("true", "yes", "on") if key is True else ("false", "no", "off") if key is False else (str(key),)
        by_word |= dict.fromkeys(words, str(value) if type(value) in (int, float) else value)
    return by_word


def _share(value: object) -> object:
    """Read 50% as 0.5."""
    if isinstance(value, str) and value.rstrip().endswith("%"):
        try:
            return float(value.rstrip()[:-1]) / 100
        except ValueError:
            return value
    return value


def _several(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


class LabelRule(Section):
    """Where a source's labels of a task stand. Of a regression task a cell is a number, or a list of them.

    ``folder``: the name of the image's folder. ``column``: a column with a class, or with the labels that hold
    (a list, or text with ``separator`` between them: ``|`` by default, a blank for any white space). ``columns``: a
    column a label, true or false, empty where unknown; of a multiclass task's columns exactly one may hold.
    ``annotators``: ``columns``, each as a ``column`` of one annotator; a class or label is what more than half of those
    who say anything say, and not annotated where nothing is; a number is the mean of what they say. With ``soft`` the
    label is the same, and what a network trains on is drawn from the annotators' shares anew in every step, so that in
    the mean over steps it trains on these shares (J. Peterson et al., ICCV 2019).
    With ``through`` what is found is a class of that task, and the relatedness table's row is the label.

    An empty cell means "not annotated", as do the codes in ``not_annotated`` (-1, 9, 999, ...). ``values`` says what
    other cells mean: yes or no (``{1: yes, -1: no}``), a class or label by its name, null for not annotated.
    ``names`` is a file below data_root with what numbers mean: a name a line from 0 on, lines of number and name, or
    a mapping or list in JSON or YAML. With ``threshold`` (a number, or a percentage), columns hold intensities or
    certainties, and a label holds from there on.

    ``long``: an image stands in several rows, one label in each; with ``value_column``, that column says whether it
    holds, and labels that no row names are not annotated.

    ``bins`` makes classes of a column of numbers, or labels that hold in order: from the k-th of them on class k, of
    len(bins) + 1, or the first k labels, of len(bins).

    ``model``: pseudo-labels, what an exported model predicts of the same inputs, as `kindred predict` does. With
    ``threshold`` a class of a lower probability is not annotated, nor is a label whose probability is neither as high
    nor as low (0.9: from 0.9 on, up to 0.1). ``soft`` gives a regression task the model's log-odds by class or label
    (J. Ba, R. Caruana, "Do deep nets really need to be deep?", NIPS 2014).
    """

    where: Literal["folder", "column", "columns", "annotators", "model"] = Field(alias="from")
    """The image's folder, one column, a column a label, a column an annotator, or a trained model."""
    column: str | None = None
    """The column, with ``from: column``."""
    columns: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """The annotators' columns, with ``from: annotators``."""
    through: str | None = None
    """The multiclass task whose class is read; the label is its row in the relatedness table."""
    not_annotated: tuple[str, ...] = ()
    """Codes that mean "not annotated", as an empty cell does."""
    values: Annotated[dict[str, bool | str | None], BeforeValidator(_words_of)] = {}
    """What cells mean: yes, no, a class or label, or null for not annotated."""
    names: str | None = None
    """A file that says what numbers mean."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between the labels of one cell; ``|`` by default."""
    threshold: Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_share), Number] | None = None
    """The intensity, certainty or percentage from which a label holds."""
    bins: tuple[_Finite, ...] = ()
    """Where a column of numbers is cut into classes, or into labels that hold in order; rising."""
    long: bool = False
    """An image stands in several rows, one label in each."""
    value_column: str | None = None
    """Of a table in long format, the column that says whether the label holds."""
    model: str | None = None
    """With ``from: model``, the folder that `kindred export` wrote, by the case file; or a URL."""
    task: str | None = None
    """With ``from: model``, what the model calls the task, where it is not called as here."""
    soft: bool = False
    """With ``from: annotators``, train on the annotators' shares; with ``from: model``, on log-odds as numbers in the
    place of a class or labels."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """With ``from: model``, of its network.json and weights: filled in when the case is read; another is refused."""

    @model_serializer(mode="wrap")
    def _as_before_there_were_models(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: blocks are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        of_models = ("model", "task", "soft", "sha256")
        if self.where == "model":
            return content
        return {k: v for k, v in content.items() if k not in of_models or (k == "soft" and v)}


class Select(Section):
    """A part of a source: the rows in which every column of ``where`` has the value (or one of the values) that it
    names; of these ``rows`` from place ``start`` on, after a shuffle that ``shuffle_seed`` fixes; all if not said.
    """

    where: dict[str, Annotated[tuple[bool | str, ...], BeforeValidator(_several)]] = {}
    """Columns, and the value (or values) that they must have."""
    rows: Positive | None = None
    """How many; all by default."""
    start: Annotated[int, Field(ge=0, le=2**53)] = 0
    """From which place of the shuffled rows on."""
    shuffle_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
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
    part: Part | None = None
    """Which part of a divided source this is: made of a ``split`` with ``fractions`` or ``folds``."""
    groups: str | None = None
    """A column (a subject, a video) none of whose values may stand in two splits; that of ``split.by`` by default."""

    crop: OwnCrop | None = None
    """In the place of ``input.crop``, such as other columns; false: its images are cropped already."""

    @model_serializer(mode="wrap")
    def _as_before_there_were_crops(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: blocks are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        return content if self.crop is not None else {key: value for key, value in content.items() if key != "crop"}

    @property
    def group_column(self) -> str | None:
        """The column whose values may not stand in two splits."""
        return self.groups or (self.part.by if self.part else None)


# Of the images of ImageNet, red, green and blue, as torchvision's models are trained with them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_PerChannel = _Finite


class PictureInput(Section):
    """What every image becomes: channels x height x width, scaled to (value / 255 - mean) / std.

    ``mean`` and ``std`` are one number, one a channel, ``imagenet``, ``measured`` (over the rows for training) or
    ``pretrained``: those that the network's weights were trained with, which is the default where there are any.

    ``crop`` names columns of tables that say which part of an image is used: a face's box, or its eyes.
    ``fit`` says what becomes of another aspect: ``squash`` changes it, ``crop`` keeps the middle, ``pad`` adds
    ``background`` at the sides. Transparent parts show ``background`` (a name, or #rrggbb). ``range`` is what black and
    white are in grey images of more than 8 bits and in floating point; without it, what the format says.
    """

    kind: Literal["picture"] = "picture"
    """Images."""
    height: _Side
    """In pixels."""
    width: _Side
    """In pixels."""
    channels: Literal[1, 3] = 3
    """3: red, green, blue; 1: grey."""
    crop: Crop | None = None
    """The part of every image that is used, by columns of its table; all of it by default."""
    fit: Literal["squash", "crop", "pad"] = "squash"
    """What becomes of images of another aspect."""
    background: str = "white"
    """What transparent parts and padding show."""
    range: tuple[_PerChannel, _PerChannel] | None = None
    """Black and white in images of more than 8 bits; by default from the format."""
    mean: _PerChannel | tuple[_PerChannel, ...] | Literal["measured", "pretrained"] = 0.5
    """Subtracted from values in [0, 1]."""
    std: _Spread | tuple[_Spread, ...] | Literal["measured", "pretrained"] = 0.25
    """What they are divided by then."""

    @model_validator(mode="before")
    @classmethod
    def _with_imagenet(cls, section: Any) -> Any:
        if isinstance(section, dict) and "imagenet" in (section.get("mean"), section.get("std")):
            imagenet = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
            section = section | {
                key: value for key, value in imagenet.items() if section.get(key, "imagenet") == "imagenet"
            }
            if section.get("channels") == 1:
                raise PydanticCustomError("imagenet", "found imagenet for images of 1 channel; expected numbers")
        return section

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        try:
            ImageColor.getrgb(background)
        except ValueError:
            raise PydanticCustomError("colour", "expected a colour: a name, or '#rrggbb' in quotes") from None
        return background

    @model_validator(mode="after")
    def _fits_the_channels(self) -> Self:
        for key in ("mean", "std"):
            value = getattr(self, key)
            if isinstance(value, tuple) and len(value) != self.channels:
                raise PydanticCustomError(
                    "per_channel",
                    "{key}: found {n} numbers; expected one, or one for each of {channels} channels",
                    {"key": key, "n": len(value), "channels": self.channels},
                )
        if self.range is not None and not self.range[0] < self.range[1]:
            raise PydanticCustomError("range", "range: found no rising numbers; expected [LOW, HIGH]")
        return self

    @model_serializer(mode="wrap")
    def _as_before_there_were_crops(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: blocks and runs are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        return content if self.crop is not None else {key: value for key, value in content.items() if key != "crop"}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


class VectorInput(Section):
    """Inputs are ``size`` numbers each, scaled to (value - mean) / std: of all, a number each, or ``measured``.

    ``columns`` names once the columns of every table that hold them, in order; it goes into the trained model, which
    takes them by name. A column is a name (of numbers), or a section with ``categories`` (of text, one number each).
    ``missing`` says what an empty cell is: ``refuse`` sends its row to quarantine, ``mean`` takes the mean of the rows
    for training and adds a number that says so. With columns the size follows, and scaling is ``measured`` by default.
    """

    kind: Literal["vector"]
    """Vectors."""
    size: Annotated[int, Field(ge=0), Number] = 0
    """How many numbers an input has; by default what ``columns`` come to."""
    columns: Columns = ()
    """The columns of tables that hold the numbers, in order."""
    missing: Literal["refuse", "mean"] = "refuse"
    """What an empty cell of a column is."""
    mean: _PerChannel | tuple[_PerChannel, ...] | Literal["measured"] = 0.0
    """Subtracted."""
    std: _Spread | tuple[_Spread, ...] | Literal["measured"] = 1.0
    """What they are divided by then."""

    @model_validator(mode="before")
    @classmethod
    def _with_columns(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("columns"):
            return {"mean": "measured", "std": "measured"} | section
        return section

    @model_validator(mode="after")
    def _size_of_columns(self) -> Self:
        if not self.columns:
            if not self.size:
                raise PydanticCustomError("size", "size: missing; expected how many numbers an input has, or columns")
            if self.missing != "refuse":
                raise PydanticCustomError("missing", "missing: found 'mean'; expected it only with columns")
            return self
        columns = self.table_columns
        names = [one.name for one in columns]
        for name in names:
            if "*" in name and not self.size:
                raise PydanticCustomError(
                    "size", "size: missing; columns have a pattern, {name}; expected how many numbers they come to",
                    {"name": repr(name)},
                )  # fmt: skip
            if names.count(name) > 1:
                raise PydanticCustomError("columns", "columns: found {name} twice", {"name": repr(name)})
        width = sum(one.width for one in columns)
        if not any("*" in name for name in names):
            if self.size not in (0, width):
                raise PydanticCustomError(
                    "size", "size: found {size}; the columns come to {width}", {"size": self.size, "width": width}
                )
            object.__setattr__(self, "size", width)
        return self

    @model_serializer(mode="wrap")
    def _as_before_there_were_columns(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: blocks and runs are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        return content if self.columns else {k: v for k, v in content.items() if k not in ("columns", "missing")}

    @cached_property
    def table_columns(self) -> tuple[TableColumn, ...]:
        """The columns, each with what an empty cell of it is; empty where they are not declared."""
        return tuple(
            TableColumn(name=one, missing=self.missing)
            if isinstance(one, str)
            else one.model_copy(update={"missing": one.missing or self.missing})
            for one in self.columns
        )

    @cached_property
    def fills_missing(self) -> bool:
        """Whether a value may be missing, NaN in the blocks."""
        return any(one.missing == "mean" and not one.categories for one in self.table_columns)

    @property
    def shape(self) -> tuple[int]:
        """(size,)."""
        return (self.size,)


def _input_kind(value: Any) -> str:
    return str(value.get("kind", "picture")) if isinstance(value, dict) else str(getattr(value, "kind", "picture"))


Input = Annotated[
    Annotated[PictureInput, Tag("picture")] | Annotated[VectorInput, Tag("vector")], Discriminator(_input_kind)
]
