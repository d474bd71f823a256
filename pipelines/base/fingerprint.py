"""Fingerprint: a short digest of settings, for the names of folders that depend on them."""

import hashlib
import json
from typing import Any


def fingerprint(content: Any) -> str:
    """Return 12 hexadecimal digits that change when JSON-like content does."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
