"""The kinds of tasks, and how their labels are encoded.

A task is multiclass (one of C classes holds), multilabel (each of L labels holds or not; binary is L = 1), ordinal (one
of C classes in an order holds) or regression (K numbers). What a kind is for losses, heads and metrics stands in a
table by kind beside each of these; labels are told apart by their encoding alone:

==========  ============  ===================  ==========================================
kind        encoding      labels               values
==========  ============  ===================  ==========================================
multiclass  ``class``     int64, shape (N,)    the class's index, or -1
multilabel  ``labels``    integer, (N, L)      1 holds, 0 does not hold, -1 not annotated
ordinal     ``class``     int64, shape (N,)    the class's index, or -1
regression  ``numbers``   float32, (N, K)      the number, or NaN
==========  ============  ===================  ==========================================

:data:`MISSING` (-1) stands for "not annotated" among integers, NaN among numbers: :func:`is_annotated` knows both.

An ``auxiliary`` task trains and is reported, and is left out of what is used: :func:`mtlcore.without_auxiliary`.
It is a role, not part of what the task is: two tasks that differ in it alone are equal, and R of one is R of the other.
The same holds of the ``loss`` that a task is trained by.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar

MISSING = -1

Encoding = Literal["class", "labels", "numbers"]
RegressionLoss = Literal["mse", "huber", "gaussian"]
OrdinalLoss = Literal["coral", "cumulative"]
T = TypeVar("T")


def is_annotated(labels: T) -> T:
    """Return which entries of a tensor or array of labels are annotated, bool, of its shape.

    Example:
        >>> import numpy as np
        >>> is_annotated(np.array([2, -1, 0])).tolist(), is_annotated(np.array([[2.5, np.nan]])).tolist()
        ([True, False, True], [[True, False]])
    """
    values: Any = labels
    floating = getattr(values.dtype, "is_floating_point", getattr(values.dtype, "kind", "") == "f")
    return values == values if floating else values != MISSING  # type: ignore[no-any-return]


def missing_label(encoding: Encoding) -> float:
    """Return what stands for "not annotated" in an encoding: -1, or NaN among numbers.

    Example:
        >>> missing_label("index"), missing_label("numbers")
        (-1, nan)
    """
    return float("nan") if encoding == "numbers" else MISSING


def _check_names(what: str, task: str, names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError(f"task {task!r}: it has no {what}; at least one is needed")
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise ValueError(f"task {task!r}: {what} named twice: {', '.join(twice)}")


@dataclass(frozen=True)
class ClassLoss:
    """How a multiclass or multilabel task is trained; see :func:`mtlcore.class_loss` and :func:`mtlcore.label_loss`.

    Attributes:
        kind: ``cross_entropy``, ``focal``, or, of labels, ``asymmetric``.
        gamma: of ``focal``, the focusing; of ``asymmetric``, that of entries that do not hold.
        gamma_positive: of ``asymmetric``, that of entries that hold.
        margin: of ``asymmetric``: what does not hold and is as improbable is not counted.
        smoothing: of labels, in [0, 1).
        class_weights: of a multiclass task's inputs by their class, >= 0; empty: 1.
        positive_weights: of entries that hold by label, > 0; empty: 1.

    Example:
        >>> ClassLoss("focal", gamma=1.0).smoothing
        0.0
    """

    kind: Literal["cross_entropy", "focal", "asymmetric"] = "cross_entropy"
    gamma: float = 2.0
    gamma_positive: float = 0.0
    margin: float = 0.05
    smoothing: float = 0.0
    class_weights: tuple[float, ...] = ()
    positive_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1 or not 0 <= self.margin < 1 or min(self.gamma, self.gamma_positive) < 0:
            raise ValueError(f"loss: found {self}; expected smoothing and margin in [0, 1), gammas of 0 or more")


@dataclass(frozen=True)
class Multiclass:
    """Exactly one of ``classes`` holds for an input; p = softmax(z).

    An ``auxiliary`` task trains and is reported, and is left out of what is exported for use. ``loss`` is cross-entropy
    where it is not given.

    Example:
        >>> Multiclass("species", ("cat", "crow")).outputs
        ('cat', 'crow')
    """

    kind: ClassVar[str] = "multiclass"
    encoding: ClassVar[Encoding] = "class"
    name: str
    classes: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)
    loss: ClassLoss | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_names("classes", self.name, self.classes)
        if self.loss and self.loss.kind == "asymmetric":
            raise ValueError(f"task {self.name!r}: found the loss asymmetric, which is of labels; expected focal")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the head's outputs: the classes."""
        return self.classes

    @property
    def width(self) -> int:
        """How many numbers the head puts out: a logit a class."""
        return len(self.classes)


@dataclass(frozen=True)
class Multilabel:
    """Each of ``labels`` holds or not, on its own; p = sigmoid(z). ``auxiliary`` as in :class:`Multiclass`.

    Example:
        >>> Multilabel("traits", ("furry", "flies"), auxiliary=True).auxiliary
        True
    """

    kind: ClassVar[str] = "multilabel"
    encoding: ClassVar[Encoding] = "labels"
    name: str
    labels: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)
    loss: ClassLoss | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_names("labels", self.name, self.labels)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the head's outputs: the labels."""
        return self.labels

    @property
    def width(self) -> int:
        """How many numbers the head puts out: a logit a label."""
        return len(self.labels)


@dataclass(frozen=True)
class Ordinal:
    """One of ``classes``, which stand in an order from low to high; see :func:`mtlcore.ordinal_loss`.

    Logit k says that the class is above the k-th: P(y > k) = sigmoid(z_k), k = 0 ... C - 2, falling in k.

    Attributes:
        loss: ``coral``, a binary cross-entropy for every k, or ``cumulative``, the class's log likelihood.

    Example:
        >>> Ordinal("pain", ("none", "mild", "strong")).width
        2
    """

    kind: ClassVar[str] = "ordinal"
    encoding: ClassVar[Encoding] = "class"
    name: str
    classes: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)
    loss: OrdinalLoss = field(default="coral", compare=False)

    def __post_init__(self) -> None:
        _check_names("classes", self.name, self.classes)
        if len(self.classes) < 2:
            raise ValueError(f"task {self.name!r}: found 1 class; an order needs two at least")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.classes

    @property
    def width(self) -> int:
        """How many numbers the head puts out: one for every step of the order."""
        return len(self.classes) - 1


@dataclass(frozen=True)
class Regression:
    """Numbers, by name in ``outputs``; see :func:`mtlcore.regression_loss`.

    A head puts out standardised numbers, (y - mean) / spread, so that tasks of any unit weigh alike in the loss and in
    an optimiser; :func:`mtlcore.predicted_numbers` returns them in the labels' unit.

    Attributes:
        loss: ``mse``, ``huber`` or ``gaussian``, with which the head puts out a log variance beside each number.
        delta: of ``huber``: from how many spreads on an error counts linearly.
        mean: of the training labels, one an output; 0 where it is empty.
        spread: their standard deviation, > 0; 1 where it is empty.

    Example:
        >>> Regression("affect", ("valence", "arousal"), loss="gaussian").width
        4
    """

    kind: ClassVar[str] = "regression"
    encoding: ClassVar[Encoding] = "numbers"
    name: str
    outputs: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)
    loss: RegressionLoss = field(default="mse", compare=False)
    delta: float = field(default=1.0, compare=False)
    mean: tuple[float, ...] = field(default=(), compare=False)
    spread: tuple[float, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        _check_names("outputs", self.name, self.outputs)
        for key, values in (("mean", self.mean), ("spread", self.spread)):
            if values and len(values) != len(self.outputs):
                right = f"expected {len(self.outputs)}, one an output"
                raise ValueError(f"task {self.name!r}: {key}: found {len(values)} numbers; {right}")
        if any(not value > 0 for value in (*self.spread, self.delta)):
            raise ValueError(f"task {self.name!r}: found a spread or delta that is not positive; expected more than 0")

    @property
    def width(self) -> int:
        """How many numbers the head puts out: one an output, or, with ``gaussian``, two."""
        return len(self.outputs) * (2 if self.loss == "gaussian" else 1)


Task = Multiclass | Multilabel | Ordinal | Regression
KINDS: dict[str, type[Task]] = {kind.kind: kind for kind in (Multiclass, Multilabel, Ordinal, Regression)}
