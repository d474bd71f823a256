"""A network that stands still while it is told to, so that what a test breaks meanwhile is at work."""

import os
import threading
from pathlib import Path

from torch import nn


class HeldBackbone(nn.Module):
    """Marks in the folder ``gate`` who trains and who evaluates: ``training-<process>``, ``evaluating-<process>``.

    While a file ``slow`` is there a step of training takes ``step_s`` seconds more; while ``stop`` is there nothing
    is evaluated.
    """

    features = 16

    def __init__(self, shape, gate, step_s=0.1):
        super().__init__()
        self.gate, self.step_s = Path(gate), step_s
        size = 1
        for n in shape:
            size *= n
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU())

    def forward(self, x):
        (self.gate / f"{'training' if self.training else 'evaluating'}-{os.getpid()}").touch()
        if self.training and (self.gate / "slow").exists():
            threading.Event().wait(self.step_s)
        while not self.training and (self.gate / "stop").exists():
            threading.Event().wait(0.1)
        return self.layers(x)
