"""A made table with a time column: hourly load of a network over 100 days, with daily and weekly seasons."""

import os
import tempfile
from pathlib import Path

import numpy as np

HOURS = 2400


def write_seasons(root: Path) -> None:
    """Write ``load.csv`` (``hour``, ``load``, ``warmth``) below ``root``; where it stands already, do nothing."""
    if root.exists():
        return
    rng = np.random.default_rng((1997, 24))
    hour = np.arange(HOURS)
    drift = np.zeros((HOURS, 2))
    for t in range(1, HOURS):
        drift[t] = 0.93 * drift[t - 1] + rng.normal(size=2) * (0.35, 0.3)
    day, week = 2 * np.pi * hour / 24, 2 * np.pi * hour / 168
    warmth = np.sin(day - 2) + drift[:, 1]
    load = 1.2 * np.sin(day - 1) + 0.5 * np.sin(2 * day) + 0.6 * np.sin(week) - 0.5 * warmth + drift[:, 0]
    load += 0.45 * rng.normal(size=HOURS)
    lines = ["hour,load,warmth", *(f"{h},{a:.4f},{b:.4f}" for h, a, b in zip(hour, load, warmth, strict=True))]
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        place = Path(scratch) / root.name
        place.mkdir()
        (place / "load.csv").write_text("\n".join(lines) + "\n")
        try:
            os.replace(place, root)
        except OSError:
            if not root.exists():  # else somebody else has just written the same
                raise
