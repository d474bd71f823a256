"""A backbone whose training mode shows: dropout, batch statistics, and a part that never trains."""

from torch import nn


class NeverDropping(nn.Dropout):
    def train(self, mode=True):
        return super().train(False)


def dropping(shape):
    size = 1
    for length in shape:
        size *= length
    layers = [nn.Linear(size, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), NeverDropping(0.9).eval()]
    return nn.Sequential(nn.Flatten(), *layers), 16
