"""Start `kindred` as a user does: in a process of its own, with none of the test's Ray in its environment."""

import os
import subprocess
import sys


def environment():
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def kindred(*arguments, timeout=400, more=None):
    """Run a command; ``more`` are variables for its environment, and so for the Ray that it starts."""
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment() | (more or {}),
        check=False,
    )
