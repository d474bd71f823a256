"""Records in JSON: whatever is wrong with one is a ValueError, deep nesting and a size that none has among them."""

import json
from typing import Any

from pipelines.base.storage import is_remote, open_regular, read_bytes

MOST_BYTES = 256 << 20


def parse_json(text: str | bytes) -> Any:
    """Return what a text in JSON holds.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(url: str) -> Any:
    """Return what a file in JSON holds, a path or URL.

    Raises:
        OSError: it is not there, or cannot be read.
        ValueError: it is no JSON, nested too deeply, or larger than 256 MiB.
        StorageUnavailableError: object storage does not answer.
    """
    return parse_json(read_bytes(url) if is_remote(url) else read_small(url))


def read_small(path: str) -> bytes:
    """Return the bytes of a regular file on disk that people write, or that describes something.

    Raises:
        OSError: it is not there, or cannot be read, or is no regular file.
        ValueError: it is larger than 256 MiB.
    """
    with open_regular(path) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: found more than {MOST_BYTES:,} bytes; expected a small file")
    return content
