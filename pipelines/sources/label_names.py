"""What the numbers in a table mean: a file with the names of classes or labels."""

import json
import re
from typing import Any

from pipelines.base.errors import UserError
from pipelines.base.plain_yaml import parse_yaml

_NUMBERED = re.compile(r"^\s*(-?\d+)\s*[\s,;:|]\s*(.+?)\s*$")


def read_names(file: str, text: str) -> dict[str, str]:
    """Return names by number, as text.

    Args:
        file: the file's name; one that ends in .json, .yaml or .yml holds a list of names, a mapping of number to name
            or of name to number, or one of these below ``names``.
        text: what stands in it; else a name a line, from 0 on, or a number and a name a line.

    Raises:
        ValueError: it holds nothing of the kind, or a number twice.
    """
    if file.lower().endswith((".json", ".yaml", ".yml")):
        try:
            given = json.loads(text) if file.lower().endswith(".json") else parse_yaml(text, file)
        except (ValueError, UserError, RecursionError) as error:
            raise ValueError(f"cannot be read: {str(error).splitlines()[0]}") from None
        return _from_structure(given)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    numbered = [match for line in lines if (match := _NUMBERED.match(line))]
    if numbered and len(numbered) >= len(lines) - 1:  # the first line may be a header
        pairs = [(str(int(match[1])), match[2].strip('"')) for match in numbered]
    else:
        pairs = [(str(i), line.strip('"')) for i, line in enumerate(lines)]
    if not pairs:
        raise ValueError("the file is empty; expected a name a line, or a number and a name a line")
    return _once(pairs)


def _from_structure(given: Any) -> dict[str, str]:
    if isinstance(given, dict) and "names" in given:
        given = given["names"]
    if isinstance(given, list):
        return {str(i): str(name) for i, name in enumerate(given)}
    if isinstance(given, dict) and given:
        # Both ways are found in published sets: {"0": "cat"} and {"cat": 0}.
        if all(isinstance(value, int) and not isinstance(value, bool) for value in given.values()):
            return _once([(str(number), str(name)) for name, number in given.items()])
        return {str(number): str(name) for number, name in given.items()}
    raise ValueError("expected a list of names, or a mapping of numbers and names")


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, name in pairs:
        if number in found:
            raise ValueError(f"found the number {number} twice; expected every number once")
        found[number] = name
    return found
