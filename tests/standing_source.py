"""A source whose reading stands still until a test lets it go on: who is killed then is at work."""

import os
import threading
from pathlib import Path
from typing import Literal

from pipelines.sources.numpy_arrays import NumpyArrays


class StandingArrays(NumpyArrays):
    """Arrays; who reads rows of them marks it in the folder ``gate``, and waits there while a file ``closed`` is."""

    kind: Literal["tests.standing_source:StandingArrays"]
    gate: str

    def read_rows(self, file, wanted):
        gate = Path(self.gate)
        (gate / f"reading-{os.getpid()}").touch()
        while (gate / "closed").exists():
            threading.Event().wait(0.02)
        return super().read_rows(file, wanted)
