"""The sections of a case file that say how a network is trained."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from pipelines.base.section import Number, Positive, PositiveFloat, Probability, Section, Weight, kind_alone


class Optimizer(Section):
    """torch.optim's AdamW or SGD."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: PositiveFloat = 1e-3
    weight_decay: Weight = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


class _Schedule(Section):
    """``warmup_steps``: the learning rate first rises over so many steps, by the same amount each."""

    warmup_steps: Annotated[int, Field(ge=0), Number] = 0


class ConstantSchedule(_Schedule):
    """The learning rate is the optimiser's ``lr``."""

    kind: Literal["constant"]


class CosineSchedule(_Schedule):
    """From ``lr`` along half a cosine to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["cosine"] = "cosine"
    end: Probability = 0.0


class LinearSchedule(_Schedule):
    """From ``lr`` along a line to ``end`` times ``lr`` after the last step; warm-up comes before."""

    kind: Literal["linear"]
    end: Probability = 0.0


class StepSchedule(_Schedule):
    """``lr`` times ``factor`` for every ``every`` steps that are done."""

    kind: Literal["step"]
    every: Positive
    factor: Annotated[float, Field(gt=0, le=1), Number] = 0.1


class MultistepSchedule(_Schedule):
    """``lr`` times ``factor`` for each of the ``milestones``, numbers of steps, that is reached."""

    kind: Literal["multistep"]
    milestones: Annotated[tuple[Positive, ...], Field(min_length=1)]
    factor: Annotated[float, Field(gt=0, le=1), Number] = 0.1


Schedule = Annotated[
    ConstantSchedule | CosineSchedule | LinearSchedule | StepSchedule | MultistepSchedule,
    Field(discriminator="kind"),
    BeforeValidator(kind_alone),
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


ByObjective = dict[str, Annotated[float, Field(allow_inf_nan=False), Number]]


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
    n_warmup_steps: Annotated[int, Field(ge=0), Number] | None = None
    n_byzantine: Annotated[int, Field(ge=0), Number] | None = None
    n_selected: Positive | None = None
    trim_number: Annotated[int, Field(ge=0), Number] | None = None

    def options(self) -> dict[str, Any]:
        """Return the options that are given."""
        return self.model_dump(exclude={"method"}, exclude_none=True)


class _Mixing(Section):
    max_repeats: Annotated[float, Field(ge=1, allow_inf_nan=False), Number] | None = None


class ProportionalMixing(_Mixing):
    """Shares in proportion to size."""

    kind: Literal["proportional"] = "proportional"


class UniformMixing(_Mixing):
    """The same share for every dataset."""

    kind: Literal["uniform"]


class TemperatureMixing(_Mixing):
    """Shares of size^(1/T)."""

    kind: Literal["temperature"]
    T: PositiveFloat


class SharesMixing(_Mixing):
    """A share for every training dataset, by name."""

    kind: Literal["shares"]
    shares: dict[str, PositiveFloat]


def _mixing_as_section(given: object) -> object:
    """A kind alone is a section; a mapping without a kind holds shares."""
    if not isinstance(given, dict):
        return {"kind": "proportional" if given is None else given}
    if isinstance(given.get("kind"), str):
        return given
    return given | {"kind": "proportional"} if set(given) <= {"max_repeats"} else {"kind": "shares", "shares": given}


# How a batch is divided over the training datasets, see mixing_rates.py: a kind alone, a section, or shares by data
# set. ``max_repeats``: how often a dataset may be gone through while the largest is gone through once.
Mixing = Annotated[
    ProportionalMixing | UniformMixing | TemperatureMixing | SharesMixing,
    Field(discriminator="kind"),
    BeforeValidator(_mixing_as_section),
]


class Augmentation(Section):
    """How training inputs are altered at random; 0: not at all. What each does: augmentation.py.

    ``flip`` and ``erasing`` are how likely an image is flipped, and loses a rectangle; ``crop`` is the margin in
    pixels; ``brightness``, ``contrast`` and ``saturation`` how far a factor may lie from 1; ``mixup`` is alpha.
    """

    flip: Probability = 0.0
    crop: Annotated[int, Field(ge=0), Number] = 0
    brightness: Probability = 0.0
    contrast: Probability = 0.0
    saturation: Probability = 0.0
    erasing: Probability = 0.0
    mixup: Weight = 0.0

    @property
    def of_pictures(self) -> tuple[str, ...]:
        """The settings that are on and alter images alone."""
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
    the backbone. ``channels_last``: the memory layout of images and of convolutions. ``shard``: each worker keeps
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
    max_failures: Annotated[int, Field(ge=-1), Number] = 3
    checkpoints: Checkpoints = Checkpoints()
    threads_per_worker: Positive = 1
    loader_threads: Positive | None = None
    data: Literal["host", "device"] = "host"
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["float32", "tf32", "bfloat16"] = "tf32"
    accumulate: Positive = 1
    clip_norm: PositiveFloat | None = None
    compile: bool = False
    channels_last: bool = True
    shard: bool = False

    @property
    def min_workers(self) -> int:
        """The number of workers without which training does not go on."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def max_workers(self) -> int:
        """The number of workers at the most."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]
