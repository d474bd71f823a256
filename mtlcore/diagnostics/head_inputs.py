"""Capture the features that each head of a network receives, with forward hooks."""

from types import TracebackType
from typing import Any

from torch import Tensor, nn


def head_features(heads: nn.ModuleDict) -> dict[str, int]:
    """Return by task how many features go into its head: what the head's first linear layer takes.

    Args:
        heads: by ``<task>_head``, as networks of this package name them.

    Example:
        >>> from mtlcore import Multiclass, MultiTaskNetwork, mlp
        >>> head_features(MultiTaskNetwork(*mlp((8,), hidden=(16,)), [Multiclass("digit", ("0", "1"))]).heads)
        {'digit': 16}
    """
    features = {}
    for name, head in heads.items():
        first = next(layer for layer in head.modules() if isinstance(layer, nn.Linear))
        features[name.removesuffix("_head")] = first.in_features
    return features


class HeadInputs:
    """Keeps what went into each head in the last forward pass, detached, by task, for as long as the block runs.

    Args:
        heads: by ``<task>_head``.

    Attributes:
        last: by task, shape (N, features).

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, MultiTaskNetwork, mlp
        >>> network = MultiTaskNetwork(*mlp((8,), hidden=(16,)), [Multiclass("digit", ("0", "1"))])
        >>> with HeadInputs(network.heads) as inputs:
        ...     _ = network(torch.zeros(3, 8))
        >>> inputs.last["digit"].shape
        torch.Size([3, 16])
    """

    def __init__(self, heads: nn.ModuleDict) -> None:
        self.last: dict[str, Tensor] = {}
        self._heads = heads
        self._hooks: list[Any] = []

    def __enter__(self) -> "HeadInputs":
        for name, head in self._heads.items():
            self._hooks.append(head.register_forward_pre_hook(self._keeper(name.removesuffix("_head"))))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _keeper(self, task: str) -> Any:
        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # Detached: what is kept until the next pass must not hold this one's graph.
            self.last[task] = inputs[0].detach()

        return keep
