"""Multiclass and multilabel tasks, and how their labels are encoded.

A task is multiclass (one of C classes holds) or multilabel (each of L labels holds or not; binary is L = 1).
Labels are integer tensors in which :data:`MISSING` (-1) stands for "not annotated":

==========  ==================  ==========================================
task        labels              values
==========  ==================  ==========================================
multiclass  int64, shape (N,)   the class's index, or -1
multilabel  integer, (N, L)     1 holds, 0 does not hold, -1 not annotated
==========  ==================  ==========================================

An ``auxiliary`` task trains and is reported, and is left out of what is used: :func:`mtlcore.without_auxiliary`.
It is a role, not part of what the task is: two tasks that differ in it alone are equal, and R of one is R of the other.
"""

from collections import Counter
from dataclasses import dataclass, field

MISSING = -1


def _check_names(what: str, task: str, names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError(f"task {task!r}: it has no {what}; at least one is needed")
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise ValueError(f"task {task!r}: {what} named twice: {', '.join(twice)}")


@dataclass(frozen=True)
class Multiclass:
    """Exactly one of ``classes`` holds for an input; p = softmax(z).

    An ``auxiliary`` task trains and is reported, and is left out of what is exported for use.

    Example:
        >>> Multiclass("species", ("cat", "crow")).outputs
        ('cat', 'crow')
    """

    name: str
    classes: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        _check_names("classes", self.name, self.classes)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the head's outputs: the classes."""
        return self.classes


@dataclass(frozen=True)
class Multilabel:
    """Each of ``labels`` holds or not, on its own; p = sigmoid(z). ``auxiliary`` as in :class:`Multiclass`.

    Example:
        >>> Multilabel("traits", ("furry", "flies"), auxiliary=True).auxiliary
        True
    """

    name: str
    labels: tuple[str, ...]
    auxiliary: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        _check_names("labels", self.name, self.labels)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the head's outputs: the labels."""
        return self.labels


Task = Multiclass | Multilabel
