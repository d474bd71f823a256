"""A network that stands still in the middle of a training until a test lets it go on: who is killed then works."""

import os
import threading
import uuid
from pathlib import Path

import psutil
from torch import nn


class StandingBackbone(nn.Module):
    """At its ``at``-th pass of training it takes a file ``permit-*`` of the folder ``gate``, and waits for one."""

    features = 16

    def __init__(self, shape, gate, at):
        super().__init__()
        self.gate, self.at, self.passes = Path(gate), at, 0
        size = 1
        for n in shape:
            size *= n
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU())

    def forward(self, x):
        if self.training:
            self.passes += 1
            if self.passes == self.at:
                stand(self.gate)
        return self.layers(x)


def stand(gate):
    mark = gate / f"standing-{os.getpid()}"
    mark.touch()
    while True:
        for permit in gate.glob("permit-*"):
            try:
                permit.unlink()
            except FileNotFoundError:  # another one has it
                continue
            mark.unlink()
            return
        threading.Event().wait(0.02)


def permit(gate, count):
    """Let so many trainings go on."""
    gate.mkdir(parents=True, exist_ok=True)
    for _ in range(count):
        (gate / f"permit-{uuid.uuid4().hex}").touch()


def standing(gate):
    """Return how many processes stand still while no training is free to go on."""
    if any(gate.glob("permit-*")):
        return 0
    return sum(_lives(int(mark.name.partition("-")[2])) for mark in gate.glob("standing-*"))


def _lives(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
