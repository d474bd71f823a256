"""Start a network from an exported one: its backbone, and the heads of the tasks that both have."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtlcore.exported.description import Description, ExportedNetwork, ExportedTask
from mtlcore.exported.folder import DESCRIPTION, WEIGHTS
from mtlcore.networks.multi_task_network import MultiTaskNetwork
from mtlcore.networks.pretrained import load_whole
from mtlcore.tasks import Ordinal, Regression, Task


def is_exported(folder: str | Path) -> bool:
    """Say whether a folder is what `kindred export` writes."""
    return (Path(folder) / DESCRIPTION).is_file()


def read_description(folder: str | Path) -> Description:
    """Read an export's network.json.

    Raises:
        ValueError: there is none, or it is broken.
    """
    try:
        return Description.from_json((Path(folder) / DESCRIPTION).read_bytes())
    except OSError as error:
        raise ValueError(f"{folder}: no export: {DESCRIPTION} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{Path(folder) / DESCRIPTION}: {error}") from None


def trained_together(description: Description, task_names: Sequence[str]) -> tuple[str, ...]:
    """Return every task that has shaped the weights with which a network for some tasks would start.

    Those of the exported network, and those of what that one was started from.
    """
    part = _part(description, task_names)
    before = description.provenance.get("started_from") or {}
    return tuple(dict.fromkeys([*(part.trained_with if part else ()), *before.get("trained_on", ())]))


def start_from(
    network: MultiTaskNetwork, tasks: Sequence[Task], folder: str | Path, *, sha256: str | None = None
) -> tuple[str, ...]:
    """Give a network the weights of an exported one, in place; return the tasks whose heads came along.

    The backbone is taken as a whole. A task that the export has too, by name, keeps its head, and has to be the same
    task: its kind, its classes or labels in their order, and its loss where that decides what the head puts out. What
    a regression task's head puts out is brought to the network's own mean and spread. Heads of other tasks stay as
    they were drawn. An export with a network a task starts networks of one task, each from its own; a task that it does
    not have keeps its drawn network. Nothing is unpickled, and no code is run.

    Args:
        network: of the same backbone; on the CPU.
        tasks: those that the network serves.
        folder: what `kindred export` wrote.
        sha256: of the weights' file, where it has to be that one.

    Raises:
        ValueError: the folder is broken, holds other weights, or does not fit; begins with ``pretrained``.

    Example:
        >>> import tempfile, torch
        >>> from mtlcore import Multiclass, build_multi_task_network
        >>> from mtlcore.exported import Description, ExportedNetwork, ExportedTask, save_exported, start_from
        >>> kind, size = Multiclass("kind", ("a", "b")), Multiclass("size", ("small", "large"))
        >>> old = build_multi_task_network((4,), [kind], backbone="mlp", widths=(8,))
        >>> described = Description(
        ...     case="toy", arm="co-trained", seed=0, input={"kind": "vector", "size": 4, "mean": 0.0, "std": 1.0},
        ...     tasks={"kind": ExportedTask("multiclass", ("a", "b"))},
        ...     networks=(ExportedNetwork("", ("kind",), ("kind",)),), network={"backbone": "mlp", "widths": [8]},
        ... )
        >>> new = build_multi_task_network((4,), [kind, size], backbone="mlp", widths=(8,))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_exported(folder, described, [old])
        ...     start_from(new, [kind, size], folder)
        ('kind',)
        >>> x = torch.randn(3, 4)
        >>> torch.equal(new(x)["kind"], old(x)["kind"])
        True
    """
    try:
        description = read_description(folder)
        part = _part(description, [task.name for task in tasks])
        if part is None:
            if len(tasks) == 1:
                return ()
            names = ", ".join(one for of in description.networks for one in of.tasks)
            raise ValueError(
                f"found {str(folder)!r}, with a network for each of {names}; expected one network for all tasks "
                "(an arm of that kind), or that of one task: kindred export --task"
            )
        weights = {
            name.removeprefix(part.prefix): tensor
            for name, tensor in _weights(Path(folder) / WEIGHTS, sha256).items()
            if name.startswith(part.prefix)
        }
        load_whole(network.backbone, weights, str(folder), ("backbone.",))
        same = [task for task in tasks if task.name in part.tasks]
        for task in same:
            _check_same(task, description.tasks[task.name])
            head = network.heads[f"{task.name}_head"]
            load_whole(head, weights, str(folder), (f"heads.{task.name}_head.",), f"the head of {task.name!r}")
            if isinstance(task, Regression):
                _restate(head, task, description.tasks[task.name])
    except ValueError as error:
        raise ValueError(f"pretrained: {str(error).removeprefix('pretrained: ')}") from None
    return tuple(task.name for task in same)


def _part(description: Description, task_names: Sequence[str]) -> ExportedNetwork | None:
    """Return which network of an export a network for some tasks starts from."""
    if len(description.networks) == 1:
        return description.networks[0]
    alone = [part for part in description.networks if list(part.tasks) == list(task_names)]
    return alone[0] if alone else None


def _weights(file: Path, sha256: str | None) -> Mapping[str, Tensor]:
    import safetensors
    import safetensors.torch

    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"{file}: found other weights, sha256 {found}; expected {sha256}")
    try:
        loaded: Mapping[str, Tensor] = safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file}: no safetensors file ({error})") from None
    return loaded


def _check_same(task: Task, exported: ExportedTask) -> None:
    """Refuse a head that means something else: in silence it would start as a wrong one."""
    found: list[tuple[str, object, object]] = [("kind", task.kind, exported.kind)]
    found.append(("outputs", list(task.outputs), list(exported.outputs)))
    if isinstance(task, Regression):  # with gaussian a head puts out variances beside the numbers
        found.append(("gaussian", task.loss == "gaussian", exported.loss == "gaussian"))
    if isinstance(task, Ordinal):
        found.append(("loss", task.loss, exported.loss or task.loss))
    for what, mine, theirs in found:
        if mine != theirs:
            raise ValueError(
                f"the task {task.name!r} has {what} {mine!r:.200}, and the export's {theirs!r:.200}; expected the "
                "same, or another name for the task, whose head then is a new one"
            )


@torch.no_grad()
def _restate(head: nn.Module, task: Regression, exported: ExportedTask) -> None:
    """Let a head say the same numbers, in the labels' unit, with another mean and spread."""
    last = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
    n = len(task.outputs)

    def values(given: tuple[float, ...], default: float) -> Tensor:
        return torch.tensor(given or (default,) * n, dtype=torch.float64)

    ratio = values(exported.spread, 1.0) / values(task.spread, 1.0)
    shift = (values(exported.mean, 0.0) - values(task.mean, 0.0)) / values(task.spread, 1.0)
    weight, bias = last.weight[:n].double(), last.bias[:n].double()
    last.weight[:n] = (weight * ratio[:, None]).to(last.weight.dtype)
    last.bias[:n] = (bias * ratio + shift).to(last.bias.dtype)
    if task.loss == "gaussian":  # log variances, in units of the spread
        last.bias[n:] += (2 * ratio.log()).to(last.bias.dtype)
