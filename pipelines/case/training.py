"""The training section of a case file: optimiser, losses, mixing, augmentation, checkpoints, logging."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from mtlcore.losses.pair_loss_registry import PAIR_LOSSES
from pipelines.base.kinds import known_name
from pipelines.base.section import (
    Name,
    Number,
    Positive,
    PositiveFloat,
    Probability,
    Section,
    Seed,
    Weight,
    refuse_unknown_keys,
)
from pipelines.case.by_step import ByStep, TemperatureByStep, WeightByStep
from pipelines.case.unlabelled import Unlabelled
from pipelines.optimization.optimizer import Optimizer
from pipelines.optimization.schedule import CosineSchedule, Schedule

# What an untrained network implies teaches little, and a wrong cell is not found yet: docs/benchmarks.md has what this
# gains with right and with wrong tables.
_WARMUP_STEPS = 100


class Validation(Section):
    """Every ``every_steps`` steps, and after the last, the network is scored on the split ``validation``.

    On at most ``rows`` of it, the same for every run and every time; see docs/training.md for what that costs.
    """

    every_steps: Positive | None = None
    """Steps between two validations; never by default."""
    rows: Positive = 5000
    """Rows that are scored, at most."""


def metric_alone(value: object) -> object:
    """Make a section of a metric alone."""
    return {"metric": value} if isinstance(value, str) else value


class Best(Section):
    """The weights of the best validation are the run's, not the last ones.

    ``metric``: ``mean`` (of the primary metrics of the tasks that are not auxiliary), a task's name (its primary
    metric), or ``<task>.<metric>``; see mtlcore.task_metrics.
    """

    metric: str = "mean"
    """``mean``, a task, or ``task.metric``."""


class EarlyStopping(Section):
    """A run ends when ``patience`` validations in a row gained no more than ``min_delta`` in ``training.best``'s metric
    (``mean`` where there is none)."""

    patience: Positive
    """Validations without a gain."""
    min_delta: Weight = 0.0
    """What counts as a gain is more than this."""


class DistributionMatchingSettings(Section):
    """lambda_DM, its temperature and variant; see mtlcore.distribution_matching_loss."""

    weight: WeightByStep = 0.0
    """lambda_DM; 0: off."""
    tau: TemperatureByStep = 1.0
    """The temperature."""
    direction: Literal["own_is_target", "implied_is_target", "symmetric"] = "own_is_target"
    """Which side is the target."""
    stop_gradient: bool = False
    """Whether the target's gradient is cut."""
    form: Literal["full", "positive"] = "full"
    """Between labels: whether those that do not hold count, or, as in the paper, those that do alone."""


class SoftCoAnnotationSettings(Section):
    """lambda_SCA, its temperature and variant; see mtlcore.co_annotation_to_classes and _to_labels."""

    weight: WeightByStep = 0.0
    """lambda_SCA; 0: off."""
    tau_co: TemperatureByStep = 1.0
    """The temperature."""
    form: Literal["positive", "full"] = "positive"
    """What the source's labels teach the target: the labels that hold alone, or those that do not as well."""
    source_form: Literal["bayes", "paper"] = "bayes"
    """What the target's labels teach the source: its posterior, or the paper's score of the labels that hold."""
    clip: Annotated[float, Field(ge=0, lt=0.5), Number] = 0.05
    """How near to 0 and 1 a table's values come in the posterior: how often a label may be wrong."""
    prior: Literal["labels", "shifted"] = "labels"
    """The source's class prior in the posterior: that of its own labels, or a running estimate of how often each class
    holds among the target's inputs (mtlcore.ShiftedPriors), for datasets whose classes are not alike often."""
    to_source: bool = True
    """Annotate inputs of the target for the source."""
    to_target: bool = True
    """Annotate inputs of the source for the target."""


class ImpliedLikelihoodSettings(Section):
    """lambda_ILL; see mtlcore.implied_likelihood_loss."""

    weight: WeightByStep = 0.0
    """lambda_ILL; 0: off."""


class AddedPairLossSettings(Section):
    """A loss of related pairs beside DM, SCA and ILL: ``kind`` is ``package.module:callable``.

    It is called with logits, labels, relatedness, trust and ``options``; see mtlcore.losses.pair_loss.PairLoss.
    """

    kind: Annotated[str, AfterValidator(known_name(PAIR_LOSSES))]
    """The loss."""
    weight: WeightByStep = 0.0
    """Its weight; 0: off."""
    options: dict[str, Any] = {}
    """Further arguments of the loss."""


class Matching(Section):
    """What is done with every relatedness edge; any other key is the name of a loss of one's own, with its ``kind``.

    ``trust``: whether the cells of a table count in full, or as far as training finds that the data bear them out
    (mtlcore.RelatednessTrust). It is estimated and reported either way.

    A weight or a temperature may change with the step: ``{0: 0.3, 400: 1}`` is 0.3 in the first 400 steps and 1 from
    then on. The warm-up multiplies what holds.
    """

    dm: DistributionMatchingSettings = DistributionMatchingSettings()
    """Distribution matching."""
    sca: SoftCoAnnotationSettings = SoftCoAnnotationSettings()
    """Soft co-annotation."""
    ill: ImpliedLikelihoodSettings = ImpliedLikelihoodSettings()
    """The likelihood of labels by what they imply."""
    trust: Literal["full", "estimated"] = "estimated"
    """Whether the cells of tables count in full, or as far as the data bear them out."""
    warmup_steps: Annotated[int, Field(ge=0), Number] | None = None
    """Steps over which the weights of all these losses rise, linearly, to what they are. By default 100, and none where
    the balancing method compares losses, which rising weights change."""

    def ramp(self, step: int, *, compares_losses: bool = False) -> float:
        """Return by what the weights are multiplied in a step, counted from 0.

        ``compares_losses``: whether the balancing method does.
        """
        steps = self.warmup_steps
        if steps is None:
            steps = 0 if compares_losses else _WARMUP_STEPS
        return min(1.0, (step + 1) / (steps + 1))

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Name, AddedPairLossSettings] = Field(init=False)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, content: Any) -> Any:
        """Take a section with a ``kind``, or the name of a registered loss, for a pair loss; refuse other keys."""
        if not isinstance(content, dict):
            return content
        added = {
            name: {"kind": name} | settings
            for name, settings in content.items()
            if name not in cls.model_fields
            and isinstance(settings, dict)
            and ("kind" in settings or name in PAIR_LOSSES)
        }
        refuse_unknown_keys(cls, [name for name in content if name not in added])
        return content | added

    @property
    def added(self) -> dict[str, AddedPairLossSettings]:
        """The losses of one's own, by name."""
        return self.__pydantic_extra__

    @property
    def weights(self) -> dict[str, ByStep]:
        """What each loss of a pair weighs, those of one's own included, by name."""
        own = {name: loss.weight for name, loss in self.added.items()}
        return {"dm": self.dm.weight, "sca": self.sca.weight, "ill": self.ill.weight} | own


def method_alone(value: object) -> object:
    """Make a section of a method alone."""
    return {"method": value} if isinstance(value, str) else value


ByObjective = dict[str, Annotated[float, Field(allow_inf_nan=False), Number]]


class Balancing(Section):
    """How objectives are weighed against each other; methods and their options: docs/balancing.md.

    An option that is not given is the method's own default. ``pref_vector``, ``weights``, ``leak`` and ``tau`` hold
    numbers by objective: a task's name, or ``matching`` for the losses of related pairs. ``options`` are those of a
    method of one's own, ``package.module:Class``, a subclass of mtlcore.balancing.Balancer.
    """

    method: str = "fixed"
    """The method."""
    options: dict[str, Any] = {}
    """Of a method of one's own."""
    lr: PositiveFloat | None = None
    """uncertainty, gradnorm, imtl_l, famo: the learning rate of the weights."""
    weight_decay: Weight | None = None
    """famo: of the weights."""
    mu: PositiveFloat | None = None
    """stch: how smooth the maximum is."""
    alpha: Weight | None = None
    """gradnorm: how strongly slow objectives are pushed. fairgrad: which fairness."""
    temperature: PositiveFloat | None = None
    """dwa: of the softmax over the rates of descent."""
    period: Positive | None = None
    """dwa: the steps over which losses are averaged."""
    scale_mode: Literal["min", "median", "rmse"] | None = None
    """aligned_mtl: the eigenvalue that all are scaled to."""
    pref_vector: ByObjective | None = None
    """aligned_mtl, config, dualproj, upgrad: the preference, by objective."""
    weights: ByObjective | None = None
    """constant: the weight, by objective."""
    leak: ByObjective | None = None
    """graddrop: how much of its gradient passes unchanged, by objective."""
    tau: Weight | ByObjective | None = None
    """pcd: the part of the first task's progress that is left to others, one number or by objective."""
    beta: Weight | None = None
    """gradvac, pcd, db_mtl: the decay of the moving average."""
    eps: Weight | None = None
    """gradvac, pcd: added to divisors."""
    epsilon: PositiveFloat | None = None
    """mgda: the step below which it stops."""
    c: Weight | None = None
    """cagrad: the radius around the mean gradient."""
    norm_eps: Weight | None = None
    """cagrad: added to a norm that is divided by."""
    max_iters: Positive | None = None
    """fairgrad, mgda: iterations at most."""
    max_norm: Weight | None = None
    """nash_mtl: the norm of an update at most; 0: any."""
    update_weights_every: Positive | None = None
    """nash_mtl: steps between two solutions."""
    optim_niter: Positive | None = None
    """nash_mtl: iterations of the solver."""
    robust_step_size: PositiveFloat | None = None
    """excess_mtl: the step size of the weights."""
    n_warmup_steps: Annotated[int, Field(ge=0), Number] | None = None
    """excess_mtl: steps with equal weights at first."""
    n_byzantine: Annotated[int, Field(ge=0), Number] | None = None
    """krum: gradients that may be wrong."""
    n_selected: Positive | None = None
    """krum: gradients that are kept."""
    trim_number: Annotated[int, Field(ge=0), Number] | None = None
    """trimmed_mean: values that are left out at each end."""

    def all_options(self) -> dict[str, Any]:
        """Return the options that are given."""
        return self.model_dump(exclude={"method", "options"}, exclude_none=True) | self.options


class _Mixing(Section):
    max_repeats: Annotated[float, Field(ge=1, allow_inf_nan=False), Number] | None = None
    """How often a dataset may be gone through while the largest is gone through once."""


class ProportionalMixing(_Mixing):
    """Shares in proportion to size."""

    kind: Literal["proportional"]


class UniformMixing(_Mixing):
    """The same share for every dataset."""

    kind: Literal["uniform"]


class TemperatureMixing(_Mixing):
    """Shares of size^(1/T): a hundredth of the size gets 0.4 of the share at T = 5."""

    kind: Literal["temperature"] = "temperature"
    T: PositiveFloat = 5.0
    """The temperature; 1: proportional."""


class SharesMixing(_Mixing):
    """A share for every training dataset, by name."""

    kind: Literal["shares"]
    shares: dict[str, PositiveFloat]
    """By training dataset; what they sum to does not matter."""


def mixing_as_section(value: object) -> object:
    """A kind alone is a section; a mapping without a kind holds shares."""
    if not isinstance(value, dict):
        return {"kind": "temperature" if value is None else value}
    if isinstance(value.get("kind"), str):
        return value
    return value | {"kind": "temperature"} if set(value) <= {"max_repeats"} else {"kind": "shares", "shares": value}


# How a batch is divided over the training datasets, see mixing_rates.py: a kind alone, a section, or shares by data
# set. A temperature is the default: in proportion to size a small dataset would get next to nothing of a batch.
# ``max_repeats``: how often a dataset may be gone through while the largest is gone through once.
Mixing = Annotated[
    ProportionalMixing | UniformMixing | TemperatureMixing | SharesMixing,
    Field(discriminator="kind"),
    BeforeValidator(mixing_as_section),
]


class Augmentation(Section):
    """How training inputs are altered at random; 0: not at all. What each does: augmentation.py.

    ``flip`` and ``erasing`` are how likely an image is flipped, and loses a rectangle; ``crop`` is the margin in
    pixels; ``brightness``, ``contrast`` and ``saturation`` how far a factor may lie from 1; ``mixup`` is alpha.
    """

    flip: Probability = 0.0
    """How likely an image is flipped."""
    crop: Annotated[int, Field(ge=0), Number] = 0
    """The margin in pixels."""
    brightness: Probability = 0.0
    """How far its factor may lie from 1."""
    contrast: Probability = 0.0
    """How far its factor may lie from 1."""
    saturation: Probability = 0.0
    """How far its factor may lie from 1."""
    erasing: Probability = 0.0
    """How likely an image loses a rectangle."""
    mixup: Weight = 0.0
    """Alpha of the Beta distribution."""

    @property
    def of_pictures(self) -> tuple[str, ...]:
        """The settings that are on and alter images alone."""
        return tuple(name for name, value in self.model_dump().items() if value and name != "mixup")


class Checkpoints(Section):
    """A run's state is written every ``every_s`` seconds, or every ``every_steps`` steps; the newest are kept."""

    every_s: PositiveFloat = 60.0
    """Seconds between two."""
    every_steps: Positive | None = None
    """Steps between two, in the place of seconds."""
    keep: Positive = 2
    """How many are kept."""
    final: bool = True
    """Keep the state at a run's end too, so that more ``steps`` go on from there."""


def _workers(value: object) -> object:
    fewest, most = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in (fewest, most))
    if not numbers or not 1 <= fewest <= most:  # type: ignore[operator]
        raise PydanticCustomError("workers", "expected a number of workers, or [fewest, most]")
    return fewest if fewest == most else (fewest, most)


class Training(Section):
    """How every arm is trained.

    ``batch_size`` is the global batch's, over all ``workers``: a number of them, or the fewest and the most that a
    cluster that grows and shrinks may give, looked at every ``resize_every_s`` seconds. ``max_failures``: how often
    workers may die before a group of runs is given up; -1: any number. Preempted nodes do not count.

    ``loader_threads``: how many threads read batches; by default one on the CPU, and on a GPU the node's processors
    shared out to its workers, eight at most. ``data``: whether the training inputs stay on the host, or are copied to
    the device once, where they fit half of its memory. Neither changes a number.

    ``precision``: ``tf32`` computes in float32, where a GPU may round the factors of matrix products and convolutions
    to TF32; ``float32`` keeps it from that; ``bfloat16`` computes the network in it (autocast). Parameters, losses and
    everything that looks at gradients stay
    float32. ``accumulate``: in how many pieces, one after the other, a worker works through its part of the batch;
    the step stays the same. ``clip_norm``: the most that the norm of the whole gradient may be. ``compile``: compile
    the backbone; ``step``: losses and trust too, and on a GPU replay whole steps. ``channels_last``: the memory layout
    of images and of convolutions. ``shard``: each worker keeps only its part of the parameters and of the optimiser's
    moments, for a network that does not fit one device.
    """

    steps: Positive
    """Updates of every run."""
    batch_size: Positive
    """Rows of the global batch."""
    mixing: Mixing = TemperatureMixing()
    """How a batch is divided over datasets."""
    augmentation: Augmentation = Augmentation()
    """How inputs are altered at random."""
    optimizer: Optimizer = Optimizer()
    """The optimiser."""
    schedule: Schedule = CosineSchedule()
    """The learning rate over steps."""
    validation: Validation = Validation()
    """Validation while it trains."""
    best: Annotated[Best | None, BeforeValidator(metric_alone)] = None
    """Keep the weights of the best validation, by this metric."""
    early_stopping: EarlyStopping | None = None
    """When to stop before the last step."""
    task_weights: dict[str, WeightByStep] = {}
    """Weight of a task's loss, 1 by default; may change with the step, as those of ``matching``."""
    matching: Matching = Matching()
    """The losses of related pairs."""
    unlabelled: Unlabelled = Unlabelled()
    """What rows teach the tasks that they are not labelled for."""
    balancing: Annotated[Balancing, BeforeValidator(method_alone)] = Balancing()
    """How objectives are weighed."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """A run for each."""
    workers: Annotated[int | tuple[int, int], BeforeValidator(_workers)] = 1
    """How many, or [fewest, most]."""
    resize_every_s: PositiveFloat = 60.0
    """Seconds between two looks at the cluster."""
    max_failures: Annotated[int, Field(ge=-1), Number] = 3
    """How often workers may die; -1: any number."""
    checkpoints: Checkpoints = Checkpoints()
    """When a run's state is written."""
    threads_per_worker: Positive = 1
    """Threads of a worker."""
    loader_threads: Positive | None = None
    """Threads that read batches; by default one on the CPU, and what the machine has on a GPU."""
    data: Literal["host", "device"] = "host"
    """Where the training inputs stay while a run trains."""
    device: Literal["cpu", "cuda", "auto"] = "cpu"
    """What a worker computes on; ``auto``: ``cuda`` where there is a GPU for every worker, else ``cpu``."""
    precision: Literal["float32", "tf32", "bfloat16"] = "tf32"
    """What the network computes in."""
    accumulate: Positive = 1
    """Pieces of a worker's shard of the batch."""
    clip_norm: PositiveFloat | None = None
    """The largest norm of the gradient."""
    compile: bool | Literal["step"] = False
    """Compile the backbone, or the whole step."""
    channels_last: bool = True
    """Memory layout of images."""
    shard: bool = False
    """Shard parameters and moments over workers."""

    @property
    def min_workers(self) -> int:
        """The number of workers below which training waits."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def max_workers(self) -> int:
        """The number of workers at the most."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]
