"""Case: the root of the configuration. Its sections: data.py, network.py, training.py, and here."""

from typing import Annotated, Literal

from pydantic import Field

from pipelines.base.section import Name, Number, Positive, PositiveFloat, Section, Weight
from pipelines.case.data import DataSet, Input, MulticlassTask, MultilabelTask
from pipelines.case.network import Network
from pipelines.case.training import Balancing, Matching, Training


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
    (relatedness.py makes rows of these). ``base``, where the source is multilabel: what holds of the target
    where no label of the source does.
    """

    source: str = Field(alias="from")
    target: str = Field(alias="to")
    table: dict[str, str | list[str] | dict[str, float | None] | None] | None = None
    base: dict[str, float] | None = None
    counted: Counted | None = None


class Arm(Section):
    """A way of training to compare; what ``matching`` leaves out is as in ``training.matching``.

    ``one_per_task`` trains a network for every task, on the same rows of the task's own datasets and for as many
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

    More than ``most_quarantined`` of a dataset's rows in quarantine fail the ingest, at its end. A label outside
    the vocabulary, or an archive that cannot be listed, fails it at once, or goes to quarantine. ``leakage``: rows
    for training whose input stands in a test or validation split too are removed (where inputs are images),
    kept, or fail the ingest; they are counted whatever is done.
    """

    most_quarantined: Annotated[float, Field(ge=0, le=1), Number] = 0.01
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
    relatedness_every: Annotated[int, Field(ge=0), Number] | None = None


class Case(Section):
    """A whole case: everything that `kindred run` needs to know, validated before anything starts.

    A case file may leave out ``arms``: then they are single-task, naive and co-trained (see load.py).
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
        """Return the datasets of a split, by name, in the case file's order."""
        return {name: data_set for name, data_set in self.datasets.items() if data_set.split == split}
