"""The sections of a case file that say what the data are: tasks, sources, labels, inputs."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from pipelines.section import Number, Positive, PositiveFloat, Section, one_or_more


class MulticlassTask(Section):
    """Exactly one of ``classes`` holds; ``aliases`` are other words for them in sources (``happy: happiness``).

    An ``auxiliary`` task trains and is reported; it is left out of the mean gain and of what is exported for use.
    """

    kind: Literal["multiclass"]
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    aliases: dict[str, str] = {}
    auxiliary: bool = False


class MultilabelTask(Section):
    """Each of ``labels`` holds or not; ``aliases`` and ``auxiliary`` as for a multiclass task."""

    kind: Literal["multilabel"]
    labels: Annotated[tuple[str, ...], Field(min_length=1)]
    aliases: dict[str, str] = {}
    auxiliary: bool = False


Columns = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]

# One path or a list of them, each below data_root, absolute, or a URL (s3://, gs://); * and ** match names.
# A part of a path may be a zip or tar archive, which is read in place.
Paths = Annotated[tuple[str, ...], BeforeValidator(one_or_more), Field(min_length=1)]


class ImageFolder(Section):
    """Pictures in folders; the folder that a picture lies in may be its class."""

    kind: Literal["image_folder"]
    path: Paths


class CsvTable(Section):
    """A table in text with a row an input.

    ``file_column`` holds the picture's path, relative to the table's folder; ``vector_columns`` the numbers, where
    inputs are vectors (names, or patterns like ``feature_*``); ``id_column`` a name for the row.
    """

    kind: Literal["csv"]
    path: Paths
    file_column: str = "file"
    vector_columns: Columns = ()
    id_column: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","


class JsonLines(Section):
    """A JSON object a line. Columns as in a CSV file; a column may hold a list (the labels that hold, the vector)."""

    kind: Literal["json_lines"]
    path: Paths
    file_column: str = "file"
    vector_columns: Columns = ()
    id_column: str | None = None


class ParquetTable(Section):
    """A Parquet file with a row an input.

    ``image_column`` holds the encoded picture's bytes (also as ``{bytes, path}``, the Hugging Face way), its path
    relative to the table's folder, or its pixels (uint8, height x width or height x width x channels);
    ``vector_columns`` the numbers, where inputs are vectors: columns of numbers, or one column of lists.
    """

    kind: Literal["parquet"]
    path: Paths
    image_column: str = "image"
    vector_columns: Columns = ()
    id_column: str | None = None


class HuggingFace(Section):
    """A data set in the Parquet layout of Hugging Face's hub: ``data/train-00000-of-00002.parquet`` and the like.

    ``part`` is the set's own split, ``config`` its configuration. Classes stored as numbers get their names back.
    """

    kind: Literal["hugging_face"]
    path: Paths
    part: str = "train"
    config: str | None = None
    image_column: str = "image"
    vector_columns: Columns = ()
    id_column: str | None = None


class WebDataset(Section):
    """Tar files of samples: members that share a name up to its first dot.

    The member with a picture's ending is the input. Columns: ``cls``, ``txt`` and other short members by their
    ending, and the keys of a ``json`` member.
    """

    kind: Literal["webdataset"]
    path: Paths


class NumpyArrays(Section):
    """Arrays with a row an input: one ``.npz`` file with all of them, or ``.npy`` files.

    ``array`` is the inputs' (float, n x size, or uint8 pictures) in an ``.npz`` file, whose other arrays are columns;
    beside a ``.npy`` file of inputs, ``columns`` names a file for every column. A column of n x L values that hold
    or not is a multilabel column.
    """

    kind: Literal["numpy"]
    path: Paths
    array: str = "x"
    columns: dict[str, str] = {}


class PublishedSet(Section):
    """A data set in the layout that its authors publish; what it has columns for: pipelines/sources/published.

    Attributes:
        part: one of the set's own parts (train, val, test, ...); all of them where it is not given.
        intensity: an action unit of at least this intensity holds; each set has a default of its own.
    """

    kind: Literal[
        "affectnet",
        "aff_wild2",
        "bp4d",
        "celeba",
        "cub_200_2011",
        "disfa",
        "emotionet",
        "grocery_store",
        "raf_db",
        "ut_zappos50k",
    ]
    path: Paths
    part: str | None = None
    intensity: Annotated[float, Field(ge=0, le=5)] | None = None


Source = Annotated[
    ImageFolder | CsvTable | JsonLines | ParquetTable | HuggingFace | WebDataset | NumpyArrays | PublishedSet,
    Field(discriminator="kind"),
]


class LabelRule(Section):
    """Where a source's labels of a task stand.

    ``folder``: the name of the picture's folder. ``column``: a column with a class, or with the labels that hold
    (a list, or a string separated by ``|``). ``columns``: a column a label, true or false, empty where unknown.
    With ``through`` what is found is a class of that task, and the relatedness table's row is the label.
    An empty cell means "not annotated", as do the codes in ``not_annotated`` (-1, 9, 999, ...). With ``threshold``,
    columns hold intensities, and a label holds from there on.
    """

    where: Literal["folder", "column", "columns"] = Field(alias="from")
    column: str | None = None
    through: str | None = None
    not_annotated: tuple[str, ...] = ()
    threshold: Annotated[float, Field(allow_inf_nan=False), Number] | None = None


class Select(Section):
    """A part of a source: ``rows`` pictures from place ``start`` on, after a shuffle that ``shuffle_seed`` fixes."""

    rows: Positive
    start: Annotated[int, Field(ge=0)] = 0
    shuffle_seed: int = 0


class DataSet(Section):
    """A source, the tasks that it is labelled for, and what it is used for."""

    source: Source
    labels: Annotated[dict[str, LabelRule], Field(min_length=1)]
    split: Literal["train", "validation", "test"] = "train"
    select: Select | None = None


class PictureInput(Section):
    """What every picture becomes: channels x height x width, scaled to (value / 255 - mean) / std."""

    kind: Literal["picture"] = "picture"
    height: Positive
    width: Positive
    channels: Literal[1, 3] = 3
    mean: float = 0.5
    std: PositiveFloat = 0.25

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return self.channels, self.height, self.width


class VectorInput(Section):
    """Inputs are ``size`` numbers each, scaled to (value - mean) / std."""

    kind: Literal["vector"]
    size: Positive
    mean: Annotated[float, Field(allow_inf_nan=False), Number] = 0.0
    std: PositiveFloat = 1.0

    @property
    def shape(self) -> tuple[int]:
        """(size,)."""
        return (self.size,)


def _input_kind(given: Any) -> str:
    return str(given.get("kind", "picture")) if isinstance(given, dict) else str(getattr(given, "kind", "picture"))


Input = Annotated[
    Annotated[PictureInput, Tag("picture")] | Annotated[VectorInput, Tag("vector")], Discriminator(_input_kind)
]
