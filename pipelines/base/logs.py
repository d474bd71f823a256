"""What a command says on standard error while it works: lines for people, or JSON Lines (``--log-format json``)."""

import json
import os
import sys
from datetime import UTC, datetime

from pipelines.base.encoding import shown

FORMAT = "KINDRED_LOG_FORMAT"  # text or json; in the environment, so that it holds in what a command starts


def is_json() -> bool:
    """Say whether lines are for a program."""
    return os.environ.get(FORMAT) == "json"


def say(
    message: str,
    *,
    level: str = "info",
    run: str | None = None,
    rank: int | None = None,
    step: int | None = None,
    **more: object,
) -> None:
    """Write a line.

    Args:
        message: the line for people.
        level: ``info``, ``note`` or ``error``.
        run: which run it is about, if it is about one.
        rank: which of its workers says it.
        step: how many of its steps are done.
        more: what else a program may want; people have it in the message.
    """
    if is_json():
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        about = {"time": time, "level": level, "message": message, "run": run, "rank": rank, "step": step}
        message = json.dumps(about | more, ensure_ascii=False)
    print(shown(message), file=sys.stderr, flush=True)
