"""From inputs as they are read to what a network was trained on: (value - mean) / std."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Scaling(nn.Module):
    """(value - mean) / std in float32, where an image's value is pixel / 255; the same arithmetic as in training.

    Args:
        settings: the ``input`` of network.json: ``kind``, ``mean`` and ``std`` (a number, or one a channel or feature).
            A number that is missing (NaN) becomes the mean, where ``missing`` is ``mean``.

    Example:
        >>> import torch
        >>> Scaling({"kind": "vector", "mean": [1.0, 2.0], "std": 2.0})(torch.tensor([[3.0, 2.0]]))
        tensor([[1., 0.]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.picture = settings["kind"] == "picture"
        self.fills_missing = settings.get("missing") == "mean"
        dimensions = 4 if self.picture else 2
        for key in ("mean", "std"):
            given = settings[key]
            number = torch.tensor(given, dtype=torch.float32)
            shaped = number.reshape(-1, *(1,) * (dimensions - 2)) if isinstance(given, list | tuple) else number
            self.register_buffer(key, shaped, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return float32 of the inputs' shape."""
        values = inputs.float()
        if self.picture:
            values = values / 255
        values = (values - self.mean) / self.std
        return torch.nan_to_num(values, nan=0.0) if self.fills_missing else values
