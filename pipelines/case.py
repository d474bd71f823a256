"""The case file as one typed object. Every key that a case file may hold is declared here."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from pipelines.nearest import did_you_mean

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


def _not_a_truth_value(given: object) -> object:
    """Refuse `yes` and `true` for a number: Python would take them for 1. Text like 1e-3 is a number in YAML 1.2."""
    if isinstance(given, bool):
        raise PydanticCustomError("truth_value", "a number is right")
    return given


_Number = BeforeValidator(_not_a_truth_value)
Positive = Annotated[int, Field(ge=1), _Number]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), _Number]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False), _Number]


class Section(BaseModel):
    """A section of the case file: immutable, and a misspelt key is an error that names the nearest one."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            for key in given:
                if key not in known and key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key {key}{hint}",
                        {"key": repr(key), "hint": did_you_mean(key, sorted(known))},
                    )
        return given


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


def _one_or_more(given: object) -> object:
    return (given,) if isinstance(given, str) else given


Columns = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]

# One path or a list of them, each below data_root, absolute, or a URL (s3://, gs://); * and ** match names.
# A part of a path may be a zip or tar archive, which is read in place.
Paths = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


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
    threshold: Annotated[float, Field(allow_inf_nan=False), _Number] | None = None


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
    mean: Annotated[float, Field(allow_inf_nan=False), _Number] = 0.0
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


class Counted(Section):
    """Relatedness counted from training inputs annotated for both tasks; see mtlcore.relatedness_from_annotations.

    A ``table`` beside it counts as so many inputs of every class as its ``strength`` says.
    """

    a: PositiveFloat = 1.0
    b: PositiveFloat = 1.0
    least_support: Positive = 10
    strength: Weight = 0.0


class RelatednessEdge(Section):
    """The relatedness of one task to another: a ``table`` by class or label, or ``counted``, or both.

    A case file may give the table as ``file``, ``hierarchy``, ``through`` or the name of a published one too
    (relatedness_tables.py makes rows of these). ``base``, where the source is multilabel: what holds of the target
    where no label of the source does.
    """

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    table: dict[str, str | list[str] | dict[str, float | None] | None] | None = None
    base: dict[str, float] | None = None
    counted: Counted | None = None


class Head(Section):
    """The heads: linear, or an MLP with these ``hidden`` widths."""

    hidden: tuple[Positive, ...] = ()


class HardSharing(Section):
    """One backbone; every task gets the same features."""

    kind: Literal["hard"] = "hard"


class CrossStitchSharing(Section):
    """A backbone a task, mixed after every stage; see mtlcore.CrossStitch."""

    kind: Literal["cross_stitch"]
    own: Annotated[float, Field(gt=0, le=1), _Number] = 0.9


Widths = Annotated[tuple[Positive, ...], Field(min_length=1)]


class MixtureOfExpertsSharing(Section):
    """Shared experts over the backbone's features, a gate a task; see mtlcore.MultiGateMixtureOfExperts."""

    kind: Literal["mmoe"]
    experts: Positive = 4
    expert_widths: Widths = (128,)


class CustomizedGateControlSharing(Section):
    """Shared experts beside each task's own; see mtlcore.ProgressiveLayeredExtraction, with one level."""

    kind: Literal["cgc"]
    shared_experts: Positive = 2
    task_experts: Positive = 2
    expert_widths: Widths = (128,)


class LayeredExtractionSharing(Section):
    """CGC in several levels; see mtlcore.ProgressiveLayeredExtraction."""

    kind: Literal["ple"]
    levels: Positive = 2
    shared_experts: Positive = 2
    task_experts: Positive = 2
    expert_widths: Widths = (128,)


def _kind_alone(given: object) -> object:
    return {"kind": given} if isinstance(given, str) else given


Sharing = Annotated[
    HardSharing
    | CrossStitchSharing
    | MixtureOfExpertsSharing
    | CustomizedGateControlSharing
    | LayeredExtractionSharing,
    Field(discriminator="kind"),
    BeforeValidator(_kind_alone),
]


def _backbone_name(given: str) -> str:
    from mtlcore.networks.named_backbone import check_backbone_name

    check_backbone_name(given)
    return given


class Network(Section):
    """The network of every arm; a network of one task is the backbone and its head, whatever the sharing.

    ``backbone``: mlp, small_cnn, resnet_small, flatten, hf:NAME, timm:NAME, or package.module:callable; ``widths``
    are hidden sizes (mlp) or channels by stage; ``options`` are the backbone's further arguments; ``pretrained`` is a
    .safetensors file, or true for the weights of an hf: or timm: name; see mtlcore.build_backbone. Paths are
    relative to the case file. ``sharing`` is a kind alone, or a section with its settings.
    """

    backbone: Annotated[str, AfterValidator(_backbone_name)] = "small_cnn"
    widths: Widths | None = None
    options: dict[str, Any] = {}
    pretrained: bool | str | None = None
    sharing: Sharing = HardSharing()
    head: Head = Head()


class Optimizer(Section):
    """torch.optim's AdamW or SGD."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: Weight = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


class _Schedule(Section):
    """``warmup_steps``: the learning rate first rises over so many steps, by the same amount each."""

    warmup_steps: Annotated[int, Field(ge=0), _Number] = 0


_Share = Annotated[float, Field(ge=0, le=1), _Number]


class ConstantSchedule(_Schedule):
    """The learning rate is the optimiser's ``lr``."""

    kind: Literal["constant"]


class CosineSchedule(_Schedule):
    """From ``lr`` along half a cosine to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["cosine"] = "cosine"
    end: _Share = 0.0


class LinearSchedule(_Schedule):
    """From ``lr`` along a line to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["linear"]
    end: _Share = 0.0


class StepSchedule(_Schedule):
    """``lr`` times ``factor`` for every ``every`` steps that are done."""

    kind: Literal["step"]
    every: Positive
    factor: Annotated[float, Field(gt=0, le=1), _Number] = 0.1


class MultistepSchedule(_Schedule):
    """``lr`` times ``factor`` for each of the ``milestones``, numbers of steps, that is reached."""

    kind: Literal["multistep"]
    milestones: Annotated[tuple[Positive, ...], Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, le=1), _Number] = 0.1


Schedule = Annotated[
    ConstantSchedule | CosineSchedule | LinearSchedule | StepSchedule | MultistepSchedule,
    Field(discriminator="kind"),
    BeforeValidator(_kind_alone),
]


class Validation(Section):
    """Every ``every_steps`` steps, and after the last, the network is scored on the split ``validation``.

    On at most ``rows`` of it, the same for every run and every time; see docs/training.md for what that costs.
    """

    every_steps: Positive | None = None
    rows: Positive = 5000


def _metric_alone(given: object) -> object:
    return {"metric": given} if isinstance(given, str) else given


class Best(Section):
    """The weights of the best validation are the run's, not the last ones.

    ``metric``: ``mean`` (of the primary metrics of the tasks that are not auxiliary), a task's name (its primary
    metric), or ``<task>.<metric>``; see mtlcore.task_metrics.
    """

    metric: str = "mean"


class EarlyStopping(Section):
    """A run ends when ``patience`` validations in a row gained no more than ``min_delta`` in ``training.best``'s metric
    (``mean`` where there is none)."""

    patience: Positive
    min_delta: Weight = 0.0


class DistributionMatchingSettings(Section):
    """lambda_DM, its temperature and variant; see mtlcore.distribution_matching_loss."""

    weight: Weight = 0.0
    tau: PositiveFloat = 1.0
    direction: Literal["own_is_target", "implied_is_target", "symmetric"] = "own_is_target"
    stop_gradient: bool = False


class SoftCoAnnotationSettings(Section):
    """lambda_SCA, its temperature and variant; see mtlcore.co_annotation_to_classes and _to_labels."""

    weight: Weight = 0.0
    tau_co: PositiveFloat = 1.0
    form: Literal["positive", "full"] = "positive"
    to_source: bool = True
    to_target: bool = True


class ImpliedLikelihoodSettings(Section):
    """lambda_ILL; see mtlcore.implied_likelihood_loss."""

    weight: Weight = 0.0


class Matching(Section):
    """What is done with every relatedness edge.

    ``trust``: whether the rows of a table count in full, or as far as training finds that the data bear them out
    (mtlcore.RelatednessTrust). It is estimated and reported either way.
    """

    dm: DistributionMatchingSettings = DistributionMatchingSettings()
    sca: SoftCoAnnotationSettings = SoftCoAnnotationSettings()
    ill: ImpliedLikelihoodSettings = ImpliedLikelihoodSettings()
    trust: Literal["full", "estimated"] = "full"


ByObjective = dict[str, Annotated[float, Field(allow_inf_nan=False), _Number]]


class Balancing(Section):
    """How objectives are weighed against each other; methods and their options: docs/balancing.md.

    An option that is not given is the method's own default. ``pref_vector``, ``weights``, ``leak`` and ``tau`` hold
    numbers by objective: a task's name, or ``matching`` for the losses of related pairs.
    """

    method: str = "fixed"
    lr: PositiveFloat | None = None
    alpha: Weight | None = None
    temperature: PositiveFloat | None = None
    period: Positive | None = None
    scale_mode: Literal["min", "median", "rmse"] | None = None
    pref_vector: ByObjective | None = None
    weights: ByObjective | None = None
    leak: ByObjective | None = None
    tau: Weight | ByObjective | None = None
    beta: Weight | None = None
    eps: Weight | None = None
    epsilon: PositiveFloat | None = None
    c: Weight | None = None
    norm_eps: Weight | None = None
    max_iters: Positive | None = None
    max_norm: Weight | None = None
    update_weights_every: Positive | None = None
    optim_niter: Positive | None = None
    robust_step_size: PositiveFloat | None = None
    n_warmup_steps: Annotated[int, Field(ge=0), _Number] | None = None
    n_byzantine: Annotated[int, Field(ge=0), _Number] | None = None
    n_selected: Positive | None = None
    trim_number: Annotated[int, Field(ge=0), _Number] | None = None

    def options(self) -> dict[str, Any]:
        """Return the options that are given."""
        return self.model_dump(exclude={"method"}, exclude_none=True)


class _Mixing(Section):
    max_repeats: Annotated[float, Field(ge=1, allow_inf_nan=False), _Number] | None = None


class ProportionalMixing(_Mixing):
    """Shares in proportion to size."""

    kind: Literal["proportional"] = "proportional"


class UniformMixing(_Mixing):
    """The same share for every data set."""

    kind: Literal["uniform"]


class TemperatureMixing(_Mixing):
    """Shares of size^(1/T)."""

    kind: Literal["temperature"]
    T: PositiveFloat


class SharesMixing(_Mixing):
    """A share for every training data set, by name."""

    kind: Literal["shares"]
    shares: dict[str, PositiveFloat]


def _mixing_as_section(given: object) -> object:
    """A kind alone is a section; a mapping without a kind holds shares."""
    if not isinstance(given, dict):
        return {"kind": "proportional" if given is None else given}
    if isinstance(given.get("kind"), str):
        return given
    return given | {"kind": "proportional"} if set(given) <= {"max_repeats"} else {"kind": "shares", "shares": given}


# How a batch is divided over the training data sets, see mixing_rates.py: a kind alone, a section, or shares by data
# set. ``max_repeats``: how often a data set may be gone through while the largest is gone through once.
Mixing = Annotated[
    ProportionalMixing | UniformMixing | TemperatureMixing | SharesMixing,
    Field(discriminator="kind"),
    BeforeValidator(_mixing_as_section),
]


Probability = Annotated[float, Field(ge=0, le=1), _Number]


class Augmentation(Section):
    """How training inputs are altered at random; 0: not at all. What each does: augmentation.py.

    ``flip`` and ``erasing`` are how likely a picture is flipped, and loses a rectangle; ``crop`` is the margin in
    pixels; ``brightness``, ``contrast`` and ``saturation`` how far a factor may lie from 1; ``mixup`` is alpha.
    """

    flip: Probability = 0.0
    crop: Annotated[int, Field(ge=0), _Number] = 0
    brightness: Probability = 0.0
    contrast: Probability = 0.0
    saturation: Probability = 0.0
    erasing: Probability = 0.0
    mixup: Weight = 0.0

    @property
    def of_pictures(self) -> tuple[str, ...]:
        """The settings that are on and alter pictures alone."""
        return tuple(name for name, value in self.model_dump().items() if value and name != "mixup")


class Checkpoints(Section):
    """A run's state is written every ``every_s`` seconds, or every ``every_steps`` steps; the newest are kept."""

    every_s: PositiveFloat = 60.0
    every_steps: Positive | None = None
    keep: Positive = 2


def _workers(given: object) -> object:
    fewest, most = given if isinstance(given, (list, tuple)) and len(given) == 2 else (given, given)
    numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in (fewest, most))
    if not numbers or not 1 <= fewest <= most:  # type: ignore[operator]
        raise PydanticCustomError("workers", "a number of workers, or [fewest, most], is right")
    return fewest if fewest == most else (fewest, most)


class Training(Section):
    """How every arm is trained.

    ``batch_size`` is the global batch's, over all ``workers``: a number of them, or the fewest and the most that a
    cluster that grows and shrinks may give, looked at every ``resize_every_s`` seconds. ``max_failures``: how often
    workers may die before a group of runs is given up; -1: any number. Preempted nodes do not count.

    ``precision``: what the network computes in; parameters, losses and everything that looks at gradients stay
    float32. ``accumulate``: in how many pieces, one after the other, a worker works through its part of the batch;
    the step stays the same. ``clip_norm``: the most that the norm of the whole gradient may be. ``compile``: compile
    the backbone. ``channels_last``: the memory layout of pictures and of convolutions. ``shard``: each worker keeps
    only its part of the parameters and of the optimiser's moments, for a network that does not fit one device.
    """

    steps: Positive
    batch_size: Positive
    mixing: Mixing = ProportionalMixing()
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = CosineSchedule()
    validation: Validation = Validation()
    best: Annotated[Best | None, BeforeValidator(_metric_alone)] = None
    early_stopping: EarlyStopping | None = None
    task_weights: dict[str, Weight] = {}
    matching: Matching = Matching()
    balancing: Balancing = Balancing()
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    workers: Annotated[int | tuple[int, int], BeforeValidator(_workers)] = 1
    resize_every_s: PositiveFloat = 60.0
    max_failures: Annotated[int, Field(ge=-1), _Number] = 3
    checkpoints: Checkpoints = Checkpoints()
    threads_per_worker: Positive = 1
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: Positive = 1
    clip_norm: PositiveFloat | None = None
    compile: bool = False
    channels_last: bool = False
    shard: bool = False

    @property
    def fewest_workers(self) -> int:
        """The number of workers without which training does not go on."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most_workers(self) -> int:
        """The number of workers at the most."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class Arm(Section):
    """A way of training to compare; what ``matching`` leaves out is as in ``training.matching``.

    ``one_per_task`` trains a network for every task, on the same rows of the task's own data sets and for as many
    updates as a shared network gets. ``balancing`` stands in the place of ``training.balancing`` as a whole.
    """

    networks: Literal["shared", "one_per_task"] = "shared"
    matching: Matching = Matching()
    balancing: Balancing | None = None


class Evaluation(Section):
    """How arms are compared, on the test split alone."""

    baseline: str = "single-task"
    main_task: str | None = None
    replicates: Positive = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95


class Tuning(Section):
    """A search over a space of tune_spaces, for one arm, scored on the validation split."""

    space: str = "matching"
    trials: Positive = 8
    arm: str = "co-trained"
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    search_seed: int = 0


class Storage(Section):
    """Where everything is written: a folder, relative to the working directory, or a URL (s3://, gs://).

    ``blocks`` is where the ingested blocks lie, if not below ``path``: a folder, or a URL (s3://, gs://).
    """

    path: str = "kindred-runs"
    blocks: str | None = None


class Ingest(Section):
    """What becomes of rows that cannot be used.

    More than ``most_quarantined`` of a data set's rows in quarantine fail the ingest, at its end. A label outside
    the vocabulary, or an archive that cannot be listed, fails it at once, or goes to quarantine. ``leakage``: rows
    for training whose input stands in a test or validation split too are removed (where inputs are pictures),
    kept, or fail the ingest; they are counted whatever is done.
    """

    most_quarantined: Annotated[float, Field(ge=0, le=1), _Number] = 0.01
    unknown_labels: Literal["fail", "quarantine"] = "fail"
    broken_archives: Literal["fail", "quarantine"] = "fail"
    leakage: Literal["remove", "keep", "fail"] | None = None


class Wandb(Section):
    """Weights & Biases; nothing is sent unless the mode is ``online``."""

    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: str = "kindred"


class Logging(Section):
    """Where metrics go during training; one entry ``every`` so many steps, in the run's log.jsonl in any case.

    With ``tensorboard``, event files lie in ``tensorboard`` below the run's folder.

    About one step in ``relatedness_every`` a shared network's tasks are measured for how they relate; 0: never. By
    default one in 100 a task, which costs under 1 %. See mtlcore.head_sharing and mtlcore.gradient_agreement.
    """

    wandb: Wandb = Wandb()
    tensorboard: bool = False
    every: Positive = 10
    relatedness_every: Annotated[int, Field(ge=0), _Number] | None = None


class Case(Section):
    """A whole case: everything that `kindred run` needs to know, validated before anything starts.

    A case file may leave out ``arms``: then they are single-task, naive and co-trained (see case_file.py).
    """

    name: Name
    embedded: Literal["digits"] | None = None
    data_root: str | None = None
    input: Input
    tasks: Annotated[
        dict[Name, Annotated[MulticlassTask | MultilabelTask, Field(discriminator="kind")]],
        Field(min_length=1),
    ]
    datasets: Annotated[dict[Name, DataSet], Field(min_length=1)]
    relatedness: tuple[RelatednessEdge, ...] = ()
    network: Network = Network()
    training: Training
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()
    ingest: Ingest = Ingest()
    storage: Storage = Storage()
    logging: Logging = Logging()

    def of_split(self, split: str) -> dict[str, DataSet]:
        """Return the data sets of a split, by name, in the case file's order."""
        return {name: data_set for name, data_set in self.datasets.items() if data_set.split == split}
