"""network.json: what is needed, beside the weights, to build an exported network and to use it."""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from mtlcore.tasks import KINDS, Task

FORMAT = 2


@dataclass(frozen=True)
class ExportedTask:
    """A task that the networks predict.

    Attributes:
        kind: what it is.
        outputs: its classes or labels, in the order of its logits.
        served: False of a task that is computed for another one's sake (a table is read from it) and is no output.
        temperature: p = softmax(z / T) or sigmoid(z / T); Guo et al., "On calibration of modern neural networks", 2017.
        thresholds: of a multilabel task: from which probability on each label is said to hold; 0.5 where empty.
        calibrated_on: the split that temperature and thresholds were fitted on; None where there was none.
        loss: of an ordinal or regression task, by which it was trained: it decides what the head puts out.
        mean: of a regression task: number = output x spread + mean.
        spread: of a regression task.
    """

    kind: Literal["multiclass", "multilabel", "ordinal", "regression"]
    outputs: tuple[str, ...]
    served: bool = True
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    calibrated_on: str | None = None
    loss: str | None = None
    mean: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    def task(self, name: str) -> Task:
        """Return it as the method's own object."""
        given = {"loss": self.loss, "mean": self.mean, "spread": self.spread}
        known = {one.name for one in dataclasses.fields(KINDS[self.kind])}
        return KINDS[self.kind](name, self.outputs, **{k: v for k, v in given.items() if v and k in known})  # type: ignore[arg-type]


@dataclass(frozen=True)
class ExportedNetwork:
    """One network of the model.

    Attributes:
        prefix: stands before the names of its weights; empty where there is one network.
        tasks: what it predicts.
        trained_with: every task that it was trained for, in its order: its parts are built from them.
    """

    prefix: str
    tasks: tuple[str, ...]
    trained_with: tuple[str, ...]


@dataclass(frozen=True)
class ExportedEdge:
    """A relatedness table that is read backwards.

    Attributes:
        target: the task whose prediction is read.
        table: R, a row a class of the task that is predicted; null where unknown.
        prior: how often each output of the target holds in its training data.
    """

    target: str
    table: tuple[tuple[float | None, ...], ...]
    prior: tuple[float, ...]


@dataclass(frozen=True)
class ExportedReading:
    """How a multiclass task is predicted through its tables; see :func:`mtlcore.fuse_log_linear`.

    Attributes:
        edges: the tables.
        prior: of the classes.
        seen: which classes have a labelled training input.
        fused: whether the task's own head takes part.
        head: its weight.
        table: the weight of the tables beside it.
        alone: the weight of the tables where they are alone.
    """

    edges: tuple[ExportedEdge, ...]
    prior: tuple[float, ...]
    seen: tuple[bool, ...]
    fused: bool
    head: float
    table: float
    alone: float


@dataclass(frozen=True)
class Description:
    """All of network.json.

    Attributes:
        case: the case's name.
        arm: the arm.
        seed: the run's seed.
        input: the case's input section: ``kind`` (picture or vector), its size, ``mean`` and ``std``, and, of vectors
            from tables, ``columns``.
        tasks: by name.
        networks: one for all tasks, or one for each.
        network: how they are built: the arguments of :func:`mtlcore.build_multi_task_network`.
        readings: by task, where it is predicted through a table.
        provenance: what the weights were made by and from.
        format: of the file.
    """

    case: str
    arm: str
    seed: int
    input: dict[str, Any]
    tasks: dict[str, ExportedTask]
    networks: tuple[ExportedNetwork, ...]
    network: dict[str, Any]
    readings: dict[str, ExportedReading] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input: (channels, height, width) or (size,)."""
        given = self.input
        return (given["size"],) if given["kind"] == "vector" else (given["channels"], given["height"], given["width"])

    @property
    def served(self) -> dict[str, Task]:
        """The tasks that it predicts, by name."""
        return {name: task.task(name) for name, task in self.tasks.items() if task.served}

    def to_json(self) -> str:
        """Return the text of network.json."""
        return json.dumps({"format": self.format} | dataclasses.asdict(self), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Description":
        """Read the text of network.json.

        Raises:
            ValueError: it is not what :meth:`to_json` returns, or of another format; names the key.
        """
        try:
            content = json.loads(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if isinstance(content, dict) and content.get("format") != FORMAT:
            raise ValueError(f"format: found {content.get('format')!r}; expected {FORMAT}: export it again")
        described: Description = _read(cls, content, "")
        described._check()
        return described

    def _check(self) -> None:
        if self.input.get("kind") not in ("picture", "vector"):
            raise ValueError(f"input.kind: found {self.input.get('kind')!r}; expected picture or vector")
        sizes = ("size",) if self.input["kind"] == "vector" else ("channels", "height", "width")
        for key in sizes:
            if type(self.input.get(key)) is not int or self.input[key] < 1:
                raise ValueError(f"input.{key}: found {self.input.get(key)!r}; expected a whole number")
        computed = [name for network in self.networks for name in network.tasks]
        if sorted(computed) != sorted(self.tasks) or not any(task.served for task in self.tasks.values()):
            raise ValueError(f"networks: found the tasks {computed}; expected {list(self.tasks)}, each once")


def _read(kind: Any, value: Any, key: str) -> Any:
    """Return JSON as an object of a type, checked: a dataclass, tuple, dictionary, union, literal or plain value."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _read_fields(kind, value, key)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _read(next(one for one in arguments if one is not type(None)), value, key)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], one, f"{key}.{i}") for i, one in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: _read(arguments[1], one, f"{key}.{name}") for name, one in value.items()}
    if (origin is Literal and value in arguments) or (origin is None and type(value) is kind):
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise ValueError(
        f"{key.lstrip('.') or 'the file'}: found {value!r:.60}; expected {getattr(kind, '__name__', kind)}"
    )


def _read_fields(kind: Any, value: Any, key: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{key.lstrip('.') or 'the file'}: found {value!r:.60}; expected an object")
    fields, hints = {one.name: one for one in dataclasses.fields(kind)}, typing.get_type_hints(kind)
    for name in value:
        if name not in fields:
            raise ValueError(f"{key.lstrip('.')}: unknown key {name!r}".lstrip(": "))
    for name, one in fields.items():
        if name not in value and one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise ValueError(f"{key.lstrip('.')}.{name}: missing".lstrip("."))
    return kind(**{name: _read(hints[name], one, f"{key}.{name}") for name, one in value.items()})
