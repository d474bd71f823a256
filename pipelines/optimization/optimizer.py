"""The optimiser that a case names, and its settings."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from mtlcore.registry import Registry
from pipelines.base.kinds import known_name
from pipelines.base.section import PositiveFloat, Section, Weight

if TYPE_CHECKING:  # an ingest's tasks read the case, and need no torch
    import torch
    from torch import nn

# The protocol: ``optimizer(parameters, *, lr, weight_decay, **options) -> torch.optim.Optimizer``, as torch's own are.
# What it keeps of a parameter has to be tensors, which checkpoints hold, and its ``step()`` has to need no closure.
OPTIMIZERS: "Registry[Callable[..., torch.optim.Optimizer]]" = Registry(
    "optimizer", "kindred.optimizers", {"adamw": "torch.optim:AdamW", "sgd": "torch.optim:SGD"}
)


_SCALE = "lr_scale"  # of a group of parameters


class Optimizer(Section):
    """The optimiser: ``adamw``, ``sgd``, or ``package.module:callable``, such as ``torch.optim:NAdam``.

    It is called with the parameters, ``lr``, ``weight_decay`` and ``options``; ``momentum`` is sgd's alone.
    """

    name: Annotated[str, AfterValidator(known_name(OPTIMIZERS))] = "adamw"
    """The optimiser."""
    lr: PositiveFloat = 1e-3
    """The learning rate."""
    weight_decay: Weight = 1e-4
    """Weight decay."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of SGD."""
    options: dict[str, Any] = {}
    """Further arguments of the optimiser."""


def build_optimizer(
    settings: Optimizer, network: "nn.Module", *, in_graphs: bool = False, scales: Mapping[str, float] | None = None
) -> "torch.optim.Optimizer":
    """Build the optimiser of a network's parameters.

    Args:
        settings: of the case.
        network: whose parameters it changes.
        in_graphs: its steps are to be replayed on a GPU: the learning rate is then a tensor, which a replay reads anew.
        scales: by parameter name, what its learning rate is multiplied by; 1 of those that it does not name.

    Raises:
        ValueError: there is no such optimiser, or it does not take its settings: begins with the key that is wrong.
    """
    import torch

    defaults: dict[str, Any] = {"momentum": settings.momentum} if settings.name == "sgd" else {}
    if settings.name in ("adamw", "sgd") and all(parameter.is_cuda for parameter in network.parameters()):
        defaults["fused"] = True  # one kernel for all parameters; on the CPU the kernels and their bits stay

    def rate(scale: float = 1.0) -> float | torch.Tensor:
        device = next(network.parameters()).device
        return torch.tensor(settings.lr * scale, device=device) if in_graphs else settings.lr * scale

    if in_graphs:
        defaults |= {"capturable": True} if settings.name == "adamw" else {}
    try:
        build = OPTIMIZERS[settings.name]
    except ValueError as error:
        raise ValueError(f"name: {error}") from None
    parameters: Any = network.parameters()
    if scales:
        by_scale: dict[float, list[torch.Tensor]] = {}
        for name, parameter in network.named_parameters():
            by_scale.setdefault(scales.get(name, 1.0), []).append(parameter)
        parameters = [{"params": of, "lr": rate(scale), _SCALE: scale} for scale, of in by_scale.items()]
    try:
        optimizer = build(parameters, lr=rate(), weight_decay=settings.weight_decay, **defaults | settings.options)
    except Exception as error:  # somebody's code
        raise ValueError(f"options: {settings.name!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(
            f"name: {settings.name!r} returned {type(optimizer).__name__}; expected a torch.optim.Optimizer"
        )
    return optimizer


def check_optimizer(settings: Optimizer) -> None:
    """Take a step with the optimiser on a small network, where it is somebody's own or has options of its own.

    Raises:
        ValueError: it cannot be built, its step fails, or it keeps what a checkpoint cannot hold; begins with the key
            that is wrong.
    """
    if settings.name in OPTIMIZERS.built_in and not settings.options:
        # The sections' own bounds are all that these have, and torch's first optimiser of a process takes longer than
        # the rest of a command's start: torch loads its compiler with it.
        return
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        network = nn.Linear(2, 2)
    optimizer = build_optimizer(settings, network)
    network(torch.ones(1, 2)).sum().backward()
    try:
        optimizer.step()
    except Exception as error:  # somebody's code
        raise ValueError(f"name: a step of {settings.name!r} failed: {type(error).__name__}: {error}") from error
    for slots in optimizer.state.values():
        for slot, value in slots.items():
            if value is not None and not isinstance(value, torch.Tensor):
                raise ValueError(
                    f"name: {settings.name!r} keeps {slot!r} of a parameter as {type(value).__name__}; "
                    "expected a tensor, which a checkpoint can hold"
                )


def set_learning_rate(optimizer: "torch.optim.Optimizer", lr: float) -> None:
    """Let the optimiser's next step take a learning rate, times the scale of each group of parameters."""
    import torch

    for group in optimizer.param_groups:
        scaled = lr * group.get(_SCALE, 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(scaled)
        else:
            group["lr"] = scaled
