"""What a model says of inputs, as columns of a table: labels, probabilities, decisions, embeddings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mtlcore import Multilabel, Regression, Task, decided_class, predicted_spread
from mtlcore.exported import ExportedModel
from pipelines.base.errors import UserError
from pipelines.evaluate.forward import forward_in_batches

_HALF = 0.5
_SPREAD = "spread "
_EMBEDDING = "embedding "  # before a task's name: no task is called so


@dataclass(frozen=True)
class Asked:
    """What is wanted of a prediction, beside labels and their probabilities.

    Attributes:
        full: the probabilities of all classes and labels.
        embeddings: what goes into the heads.
        calibrated: whether probabilities are divided by the temperature, and labels decided at fitted thresholds.
    """

    full: bool = False
    embeddings: bool = False
    calibrated: bool = True


def check_alike(members: Sequence[ExportedModel]) -> None:
    """Refuse an ensemble of models that predict different things or take different inputs.

    Raises:
        UserError: they differ.
    """
    first = members[0]
    for other in members[1:]:
        if other.tasks != first.tasks:
            raise UserError(f"MODEL: found models of {', '.join(first.tasks)} and of {', '.join(other.tasks)} together")
        kept = [{k: v for k, v in one.description.input.items() if k not in ("mean", "std")} for one in (first, other)]
        if kept[0] != kept[1]:
            raise UserError("MODEL: found models that take different inputs; expected the same")


@torch.inference_mode()
def answer(members: Sequence[ExportedModel], inputs: Tensor, asked: Asked, device: str = "cpu") -> pa.Table:
    """Predict inputs; of several models the mean of their probabilities.

    Args:
        members: in evaluation mode, on the device.
        inputs: as the models take them, (N, ...).
        asked: what is wanted.
        device: where to compute.

    Returns:
        a row an input, by task ``<task>`` (the class, the labels that hold, or a number; of several numbers
        ``<task>.<output>``) and ``<task>.probability`` (its, or theirs); with ``full`` ``<task>.probabilities`` of all
        outputs in the task's order, and ``.spread`` after a number with a Gaussian likelihood, the standard deviation
        that the model states; with ``embeddings`` ``embedding``, or ``<task>.embedding`` where tasks differ.
    """
    sums: dict[str, Tensor] = {}
    stated: dict[str, list[tuple[Tensor, Tensor]]] = {}
    embedded: dict[str, Tensor] = {}
    for member in members:
        found = _forward(member, inputs, asked, device)
        for name in member.tasks:
            sums[name] = sums[name] + found[name] if name in sums else found[name]
            if f"{_SPREAD}{name}" in found:
                stated.setdefault(name, []).append((found[name], found[f"{_SPREAD}{name}"]))
        if asked.embeddings and not embedded:
            embedded = {k.removeprefix(_EMBEDDING): v for k, v in found.items() if k.startswith(_EMBEDDING)}
    probabilities = {name: p / len(members) if len(members) > 1 else p for name, p in sums.items()}
    columns: dict[str, pa.Array] = {}
    for name, task in members[0].tasks.items():
        columns |= _columns(name, task, probabilities[name], thresholds_of(members, name, asked.calibrated), asked.full)
        if name in stated:
            columns |= _numbers(name, task, _spread_of_mixture(stated[name]), ".spread")
    return pa.table(columns | _embeddings(embedded, members[0].tasks))


def thresholds_of(members: Sequence[ExportedModel], task: str, calibrated: bool = True) -> Tensor:
    """Return a multilabel task's thresholds, float32, (labels,): of several models the mean."""
    half = (_HALF,) * len(members[0].tasks[task].outputs)
    rows = [(m.description.tasks[task].thresholds or half) if calibrated else half for m in members]
    return torch.tensor(rows, dtype=torch.float64).mean(dim=0).float()


def _forward(member: ExportedModel, inputs: Tensor, asked: Asked, device: str) -> Mapping[str, Tensor]:
    """Return probabilities by task, batch by batch as the logits are: vectorised code has a tail of its own."""

    gaussian = {k: t for k, t in member.tasks.items() if isinstance(t, Regression) and t.loss == "gaussian"}

    def forward(x: Tensor) -> dict[str, Tensor]:
        h = member.embeddings(x)
        z = member.from_embeddings(h)
        p = member.answers(z, calibrated=asked.calibrated)
        if asked.full:
            p |= {f"{_SPREAD}{name}": predicted_spread(z[name], task) for name, task in gaussian.items()}
        return p | {f"{_EMBEDDING}{name}": h[name] for name in member.tasks} if asked.embeddings else p

    return forward_in_batches(forward, inputs, device)


def _columns(name: str, task: Task, p: Tensor, thresholds: Tensor, full: bool) -> dict[str, pa.Array]:
    names = pa.array(task.outputs, pa.string())
    if isinstance(task, Regression):
        return _numbers(name, task, p)
    if not isinstance(task, Multilabel):
        best = decided_class(p, task)
        top = p.gather(1, best[:, None])[:, 0]
        columns = {name: names.take(pa.array(best.numpy())), f"{name}.probability": pa.array(top.numpy(), pa.float32())}
    else:
        holds = p >= thresholds
        offsets = pa.array(np.concatenate([[0], holds.sum(dim=1).cumsum(dim=0).numpy()]).astype(np.int32))
        which = names.take(pa.array(holds.nonzero()[:, 1].numpy()))
        columns = {
            name: pa.ListArray.from_arrays(offsets, which),
            f"{name}.probability": pa.ListArray.from_arrays(offsets, pa.array(p[holds].numpy(), pa.float32())),
        }
    return columns | ({f"{name}.probabilities": _lists(p)} if full else {})


def _numbers(name: str, task: Task, values: Tensor, ending: str = "") -> dict[str, pa.Array]:
    several = len(task.outputs) > 1
    return {
        (f"{name}.{output}" if several else name) + ending: pa.array(values[:, i].contiguous().numpy(), pa.float32())
        for i, output in enumerate(task.outputs)
    }


def _spread_of_mixture(members: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the standard deviation of a mixture of normal distributions, of which means and deviations are given."""
    if len(members) == 1:
        return members[0][1]
    means, spreads = (torch.stack(values).double() for values in zip(*members, strict=True))
    return (spreads.square().mean(dim=0) + means.var(dim=0, correction=0)).sqrt().float()


def _embeddings(embedded: Mapping[str, Tensor], tasks: Mapping[str, Task]) -> dict[str, pa.Array]:
    if not embedded:
        return {}
    first = next(iter(embedded.values()))
    if all(torch.equal(of_task, first) for of_task in embedded.values()):
        return {"embedding": _lists(first)}
    return {f"{name}.embedding": _lists(embedded[name]) for name in tasks}


def _lists(rows: Tensor) -> pa.Array:
    flat = pa.array(rows.contiguous().numpy().reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1])


def outputs_metadata(tasks: Mapping[str, Task]) -> dict[str, str]:
    """Return what a file of predictions says of itself: every task's kind, and its classes or labels, in order."""
    outputs = {name: list(task.outputs) for name, task in tasks.items()}
    return {"kindred": json.dumps({"outputs": outputs, "kinds": {name: task.kind for name, task in tasks.items()}})}
