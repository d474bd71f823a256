"""Case: the root of the configuration. Its sections: data.py, network.py, training.py, and here."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
)

from pipelines.base.section import Name, Number, Positive, PositiveFloat, Section, Seed, Weight, one_or_more
from pipelines.case.by_step import WeightByStep
from pipelines.case.data import DataSet, Input, TaskSection
from pipelines.case.network import Network, Sha256, Sharing
from pipelines.case.training import Balancing, Matching, Mixing, Training, method_alone
from pipelines.case.unlabelled import Unlabelled
from pipelines.case.verification import Verification


class Counted(Section):
    """Relatedness counted from training inputs annotated for both tasks; see mtlcore.relatedness_from_annotations.

    A ``table`` beside it counts as so many inputs of every class as its ``strength`` says.
    """

    a: PositiveFloat = 1.0
    """Added to the count of inputs for which a label holds, before dividing."""
    b: PositiveFloat = 1.0
    """Added to the count of those for which it does not."""
    least_support: Positive = 10
    """A row counted from fewer inputs is unknown."""
    strength: Weight = 0.0
    """For how many inputs of every class the ``table`` counts."""


class RelatednessEdge(Section):
    """The relatedness of one task to another: a ``table`` by class or label, or ``counted``, or both.

    A case file may give the table as ``file``, ``hierarchy``, ``through`` or the name of a published one too
    (relatedness.py makes rows of these). ``base``, where the source is multilabel: what holds of the target
    where no label of the source does.
    """

    source: str = Field(alias="from")
    """The task from which the other follows."""
    target: str = Field(alias="to")
    """The task that follows."""
    table: dict[str, str | list[str] | dict[str, float | None] | None] | None = None
    """By class (or label) what holds of the other task: one name, a list of names, or a probability by name; null:
    unknown. Or the name of a published table."""
    base: dict[str, float] | None = None
    """What holds where no label of a multilabel source does."""
    weight: WeightByStep = 1.0
    """By what the weights of all losses of this pair are multiplied; 0: the pair is left out. May change with the step,
    as those of ``training.matching``."""
    counted: Counted | None = None
    """Count it from inputs annotated for both tasks."""


def _matching_form(value: Any) -> str:
    return "losses" if isinstance(value, (dict, Matching)) else "none"


class Arm(Section):
    """A way of training and of predicting to compare; what ``matching`` leaves out is as in ``training.matching``.

    ``matching: none`` is training without any loss of related pairs, whatever ``training.matching`` says. ``networks:
    one_per_task`` trains a network for every task, for as many updates as a shared network gets: with ``batch: own`` on
    whole batches of the task's own datasets, with ``batch: shared`` on their rows of the shared network's batches
    alone. ``balancing`` and ``unlabelled`` stand in the place of ``training.balancing`` and ``training.unlabelled`` as
    a whole.

    ``tasks`` are those that it serves, all by default: a network of some tasks trains on whole batches of their
    datasets, or, with ``batch: shared``, on these datasets' rows of the batches that all tasks share. ``shuffle`` names
    tasks whose labels are dealt anew among the training rows annotated for them: a control that keeps all but what the
    labels say. ``network`` differs from the case's ``network`` in the keys that it has, ``sharing`` and ``pretrained``
    in one of them; ``mixing`` and ``task_weights`` stand in the place of ``training``'s as a whole.

    ``infer: table`` predicts a multiclass task with a relatedness edge by reading the table backwards from the
    other task's prediction; ``fuse: table`` joins that with the task's own head (see mtlcore.read_classes and
    mtlcore.fuse_log_linear). Arms that differ in these alone share their networks: nothing is trained twice.
    """

    networks: Literal["shared", "one_per_task"] = "shared"
    """One network for all tasks, or one for each."""
    batch: Literal["own", "shared"] = "own"
    """What a network of one task trains on: whole batches of its own, or its rows of the shared ones."""
    matching: Annotated[
        Annotated[Matching, Tag("losses")] | Annotated[Literal["none"], Tag("none")], Discriminator(_matching_form)
    ] = Matching()
    """What differs from ``training.matching``; ``none``: no loss of related pairs."""
    balancing: Annotated[Balancing | None, BeforeValidator(method_alone)] = None
    """In the place of ``training.balancing``."""
    unlabelled: Unlabelled | None = None
    """In the place of ``training.unlabelled``; {}: off."""
    infer: Literal["heads", "table"] = "heads"
    """Predict a multiclass task by its own head, or by its table read backwards."""
    fuse: Literal["table"] | None = None
    """Join the head with the table read backwards."""
    pretrained: bool | str | None = None
    """Whether networks start from ``network.pretrained``, or an export or file in its place; has to be said of networks
    of one task where those weights were co-trained."""
    pretrained_sha256: Sha256 | None = None
    """Of the file that ``pretrained`` names, as in ``network``."""
    tasks: Annotated[tuple[Name, ...] | None, BeforeValidator(one_or_more)] = None
    """The tasks that it serves; all by default."""
    shuffle: Annotated[tuple[Name, ...], BeforeValidator(one_or_more)] = ()
    """Tasks whose training labels are permuted."""
    network: Network | None = None
    """What differs from the case's ``network``."""
    sharing: Sharing | None = None
    """In the place of ``network.sharing``."""
    mixing: Mixing | None = None
    """In the place of ``training.mixing``."""
    task_weights: dict[str, WeightByStep] | None = None
    """In the place of ``training.task_weights``."""

    @model_serializer(mode="wrap")
    def _as_before_weights_were_named(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing: runs are named by what a section holds."""
        content: dict[str, Any] = plain(self)
        if content.get("pretrained_sha256") is None:
            content.pop("pretrained_sha256", None)
        return content

    @property
    def weighs_by_trust(self) -> bool:
        """Whether a relatedness row counts as far as training finds that the data bear it out."""
        return isinstance(self.matching, Matching) and self.matching.trust == "estimated"

    @property
    def reads_the_table(self) -> bool:
        """Whether it predicts through a table."""
        return self.infer == "table" or self.fuse is not None

    @property
    def is_baseline(self) -> bool:
        """Whether it uses no relatedness in training: what co-training has to beat. Shuffled labels are a control."""
        if self.shuffle:
            return False
        if self.networks == "one_per_task" or not isinstance(self.matching, Matching):
            return True
        return not any(getattr(part, "weight", 0) for _, part in self.matching)


class MetricsOfTask(Section):
    """The ``primary`` metric, by which arms are compared, and those to ``add`` to the built-in ones.

    ``accuracy``, ``balanced_accuracy``, ``macro_f1``, or ``package.module:Class``; see mtlcore.metrics.summed.
    """

    primary: str | None = None
    """The metric by which arms are compared; accuracy or macro_f1 by default."""
    add: Annotated[tuple[str, ...], BeforeValidator(one_or_more)] = ()
    """Metrics beside the built-in ones."""


class Evaluation(Section):
    """How arms are compared, on the test split alone; ``metrics`` by task, where they are not the usual ones."""

    baseline: str = "single-task"
    """The arm that others are compared with."""
    main_task: str | None = None
    """The task whose confusion is reported; the first by default."""
    metrics: dict[str, MetricsOfTask] = {}
    """By task, metrics to add, and which is primary."""
    verification: Verification | None = None
    """Pairs of inputs of one identity or two, of none that was trained on."""
    replicates: Positive = 1000
    """Bootstrap replicates."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the intervals."""


class Tuning(Section):
    """A search for better settings of one arm, scored on the validation split; see docs/search.md.

    ``space`` is a name (a module of tune_spaces, or ``package.module:function``), or says itself what is searched: any
    key of the case but data and tasks, with ``{loguniform: [low, high]}``, ``uniform``, ``randint`` or ``{choice:
    [value, ...]}``, and ``when: {KEY: VALUE}`` beside it where it depends on another one.

    ``objective``: ``safe`` is the best mean over tasks among the trials under which no task is worse than its
    single-task network beyond chance; ``mean`` the best mean; a task or ``task.metric`` that one alone; ``delta_m`` the
    mean relative gain over single-task networks; ``pareto`` searches all tasks at once and chooses from the front.

    Every trial trains the first of ``seeds``; of those that came to an end the best go on with the next, one in
    ``reduction`` of them each time. The winner is trained again with ``fresh_seeds`` seeds that chose nothing.
    """

    space: str | dict[str, Any] = "matching"
    """A module of tune_spaces, ``package.module:function``, or keys with how their values are drawn."""
    search: str = "optuna"
    """optuna (TPE; NSGA-II for pareto), random, grid, pbt (population-based training: weights and temperatures that
    change with the step), or ``package.module:callable``: a searcher, or one of Optuna's samplers or of Ray Tune's."""
    scheduler: Literal["none", "asha", "median", "hyperband"] | None = None
    """What ends trials early that fall behind; asha by default where the case validates as it trains."""
    grace_steps: Positive | None = None
    """No trial is ended before so many steps; a sixteenth of them by default."""
    reduction: Annotated[int, Field(ge=2), Number] = 4
    """asha and hyperband: one trial in so many goes on from a rung, each so many times as far as the one before."""
    perturb_every: Positive | None = None
    """pbt: after so many steps each, those of the population that fall behind go on from the best; a multiple of
    training.validation.every_steps. By default about an eighth of training.steps."""
    objective: str = "safe"
    """safe, mean, a task, task.metric, delta_m or pareto."""
    trials: Positive = 16
    """How many configurations are tried, beside the baselines and the case as it stands."""
    hours: PositiveFloat | None = None
    """No new trial begins after so many hours."""
    gpu_hours: PositiveFloat | None = None
    """No new trial begins after so many hours of GPUs."""
    concurrency: Positive | None = None
    """How many trials run at once; by default as many as memory, processors and GPUs have room for."""
    gpus_per_trial: Annotated[float, Field(gt=0, le=1), Number] = 1.0
    """On GPUs, of trials of one worker: the share of a GPU that each gets."""
    arm: str = "co-trained"
    """The arm whose settings are tuned."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    """The seeds of trials; baselines train all of them."""
    fresh_seeds: Annotated[int, Field(ge=0), Number] = 3
    """With how many further seeds the winner is trained again."""
    search_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Decides which configurations are drawn."""


class Storage(Section):
    """Where everything is written: a folder, relative to the working directory, or a URL (s3://, gs://).

    ``blocks`` is where the ingested blocks lie, if not below ``path``: a folder, or a URL (s3://, gs://).
    """

    path: str = "kindred-runs"
    """The folder or URL below which all is written."""
    blocks: str | None = None
    """Where blocks lie, if elsewhere."""


class Ingest(Section):
    """What becomes of rows that cannot be used.

    More than ``most_quarantined`` of a dataset's rows in quarantine fail the ingest, at its end. A label outside
    the vocabulary, or an archive that cannot be listed, fails it at once, or goes to quarantine. ``leakage``: rows
    for training whose input stands in a test or validation split too are removed (where inputs are images),
    kept, or fail the ingest; they are counted whatever is done. Images that look alike, as neighbouring frames and
    resized copies do, are counted beside them, and removed with ``near``.
    """

    most_quarantined: Annotated[float, Field(ge=0, le=1), Number] = 0.01
    """The share of a dataset's rows that may be unusable."""
    unknown_labels: Literal["fail", "quarantine"] = "fail"
    """What a label outside the vocabulary does."""
    broken_archives: Literal["fail", "quarantine"] = "fail"
    """What an archive that cannot be listed does."""
    leakage: Literal["remove", "near", "keep", "fail"] | None = None
    """What is done with training inputs that stand in a later split; ``near``: also with images that look like one."""


class Wandb(Section):
    """Weights & Biases; nothing is sent unless the mode is ``online``."""

    mode: Literal["disabled", "offline", "online"] = "disabled"
    """Whether anything is recorded, and sent."""
    project: str = "kindred"
    """The project's name."""


class Logging(Section):
    """Where metrics go during training; one entry ``every`` so many steps, in the run's log.jsonl in any case.

    With ``tensorboard``, event files lie in ``tensorboard`` below the run's folder.

    About one step in ``relatedness_every`` a shared network's tasks are measured for how they relate; 0: never. By
    default one in 100 a task, which costs under 1 %. See mtlcore.head_sharing and mtlcore.gradient_agreement.
    """

    wandb: Wandb = Wandb()
    """Weights & Biases."""
    tensorboard: bool = False
    """Write event files."""
    every: Positive = 10
    """Steps between entries."""
    relatedness_every: Annotated[int, Field(ge=0), Number] | None = None
    """Steps between measurements of how tasks relate; 0: never; by default 100 a task."""


class Case(Section):
    """A whole case: everything that `kindred run` needs to know, validated before anything starts.

    A case file may leave out ``arms``: then they are single-task, naive, co-trained and, where the table of a
    multiclass task can be read backwards, the baselines that do so without co-training (see load.py).
    """

    name: Name
    """Names the experiment's folder."""
    embedded: Literal["digits", "seasons"] | None = None
    """Data that come with this package, in the place of data_root."""
    data_root: str | None = None
    """The folder, archive or URL that sources lie below; the case file's folder by default."""
    input: Input
    """What every input becomes."""
    tasks: Annotated[
        dict[Name, Annotated[TaskSection, Field(discriminator="kind")]],
        Field(min_length=1),
    ]
    """What is learnt, by name."""
    datasets: Annotated[dict[Name, DataSet], Field(min_length=1)]
    """Where labels and inputs come from, by name."""
    relatedness: tuple[RelatednessEdge, ...] = ()
    """How tasks follow from each other."""
    network: Network = Network()
    """The network of every arm."""
    training: Training
    """How every arm is trained."""
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    """The ways of training that are compared: single-task, naive and co-trained by default."""
    evaluation: Evaluation = Evaluation()
    """How arms are compared."""
    tuning: Tuning = Tuning()
    """What ``kindred tune`` searches."""
    ingest: Ingest = Ingest()
    """What becomes of unusable rows."""
    storage: Storage = Storage()
    """Where everything is written."""
    logging: Logging = Logging()
    """Where metrics go."""

    _experiment: str | None = PrivateAttr(None)

    @property
    def needs_data_root(self) -> bool:
        """Whether anything that it reads lies below data_root, a place of the user's."""
        verified = [self.evaluation.verification.source] if self.evaluation.verification else []
        sources = [*(data_set.source for data_set in self.datasets.values()), *verified]
        return self.embedded is None and not all(source.made for source in sources)

    @property
    def experiment(self) -> str | None:
        """The folder of the experiment that the case was read from; None where it was read from a case file."""
        return self._experiment

    def of_experiment(self, folder: str) -> Self:
        """Return the case as that of an experiment that lies there, whatever the folder would be called today."""
        case = self.model_copy()
        case._experiment = folder
        return case

    def trained_as(self, arm: str) -> str:
        """Return the first arm that trains the same networks as an arm does: the one whose runs both use."""

        def training_of(name: str) -> dict[str, Any]:
            shared = self.arms[name].networks == "shared"
            unused = {"matching"} if not shared else set() if self.arms[name].tasks else {"batch"}
            return self.arms[name].model_dump(exclude={"infer", "fuse"} | unused)

        return next(name for name in self.arms if training_of(name) == training_of(arm))

    def tasks_of_arm(self, arm: str) -> tuple[str, ...]:
        """Return the tasks that an arm serves, in the case's order.

        Those that an arm of one network a task trains one for: an auxiliary task without labels to test on needs none.
        """
        settings = self.arms[arm]
        named = tuple(name for name in self.tasks if settings.tasks is None or name in settings.tasks)
        if settings.tasks is not None or settings.networks == "shared":
            return named
        tested = {task for data_set in self.of_split("test").values() for task in data_set.labels}
        return tuple(name for name in named if not self.tasks[name].auxiliary or name in tested)

    def for_arm(self, arm: str) -> "Case":
        """Return the case as an arm has it: with its own network, mixing and task weights."""
        settings = self.arms[arm]
        training: dict[str, Any] = {}
        network = settings.network or self.network
        if settings.sharing is not None:
            network = network.model_copy(update={"sharing": settings.sharing})
        if settings.pretrained is not None and settings.pretrained is not True:
            network = network.model_copy(
                update={"pretrained": settings.pretrained or None, "pretrained_sha256": settings.pretrained_sha256}
            )
        if settings.mixing is not None:
            training["mixing"] = settings.mixing
        if settings.task_weights is not None:
            training["task_weights"] = settings.task_weights
        return self.model_copy(
            update={
                "network": network,
                "training": self.training.model_copy(update=training) if training else self.training,
            }
        )

    def unlabelled_of(self, arm: str) -> Unlabelled:
        """Return what an arm's rows teach the tasks that they are not labelled for."""
        own = self.arms[arm].unlabelled
        return self.training.unlabelled if own is None else own

    @property
    def folds(self) -> int | None:
        """Into how many folds its datasets are divided; None where they are not."""
        return next((of.part.folds for of in self.datasets.values() if of.part and of.part.folds), None)

    def of_fold(self, fold: int | None) -> "Case":
        """Return the case of which a fold is the test part; with None that of all folds together."""
        return self.model_copy(
            update={
                "datasets": {
                    name: of.model_copy(update={"part": of.part.model_copy(update={"fold": fold})})
                    if of.part and of.part.folds
                    else of
                    for name, of in self.datasets.items()
                }
            }
        )

    def of_split(self, split: str) -> dict[str, DataSet]:
        """Return the datasets of a split, by name, in the case file's order."""
        return {name: data_set for name, data_set in self.datasets.items() if data_set.split == split}
