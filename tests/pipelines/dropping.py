"""A backbone whose training mode shows: dropout, batch statistics, and a part that never trains."""

from torch import nn


def dropping(shape):
    size = 1
    for length in shape:
        size *= length
    frozen = nn.Dropout(0.9).eval()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), frozen), 16
