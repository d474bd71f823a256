"""Start `kindred`: in a process of its own, as a user does, or in the test's own where the process is not the point."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from pipelines.cli import main


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


def run_apart(module, folder):
    """Run a module of the tests in a process of its own, with a Ray of its own; return what it said last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        cwd=Path(__file__).parents[1],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return json.loads(done.stdout.splitlines()[-1])


def kindred_here(*arguments):
    """Run a command in this process, on the Ray that the tests share, which the test asks for if it needs one.

    A process costs the seconds of importing torch and Ray, and one that starts a Ray a dozen more.
    """
    output, messages = io.StringIO(), io.StringIO()
    argv, path = sys.argv, list(sys.path)
    sys.argv = ["kindred", *arguments]
    try:
        with redirect_stdout(output), redirect_stderr(messages):
            main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv, sys.path[:] = argv, path
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), messages.getvalue())
