"""A backbone whose process dies as it predicts, as often as there are files in a folder: each dies of one."""

import os
import signal
from pathlib import Path

from torch import nn


class DyingBackbone(nn.Sequential):
    """A small MLP.

    Args:
        shape: of an input.
        deaths: the folder; none are died of where it is not there.
    """

    def __init__(self, shape, deaths):
        size = 1
        for length in shape:
            size *= length
        super().__init__(nn.Flatten(), nn.Linear(size, 16), nn.ReLU())
        self.features = 16
        self._deaths = Path(deaths)

    def forward(self, x):
        if not self.training and self._deaths.is_dir():
            for death in sorted(self._deaths.iterdir()):
                try:
                    death.unlink()
                except FileNotFoundError:  # another process dies of it
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)
