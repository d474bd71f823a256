"""Parse the rows of a relatedness table: lists, mappings, prototypical and observational labels."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_FORM = {"prototypical", "observational"}


def expanded_row(
    row: str | Sequence[str] | Mapping[str, Any] | None, labels: Sequence[str], where: str
) -> dict[str, float]:
    """Return a row's cells by label, NaN where unknown.

    Args:
        row: one label, a list of labels, a mapping to probabilities (None: unknown), None for a row that is unknown
            as a whole, or the form of tables of facial expressions (Du, Tao, Martinez, PNAS 2014):
            ``{"prototypical": [labels that weigh 1], "observational": {label: share of people who show it}}``.
        labels: all labels of B. Where one of them is called ``prototypical`` or ``observational``, a mapping means
            probabilities.
        where: begins a message.

    Raises:
        ValueError: a value is not a number, a label is both prototypical and observational, or the form is mixed
            with plain cells.

    Example:
        >>> from mtlcore.relatedness.rows import expanded_row
        >>> expanded_row({"prototypical": ["AU12", "AU25"], "observational": {"AU6": 0.51}}, ["AU6"], "happiness")
        {'AU12': 1.0, 'AU25': 1.0, 'AU6': 0.51}
    """
    if row is None:
        return dict.fromkeys(labels, math.nan)
    if isinstance(row, str):
        return {row: 1.0}
    if not isinstance(row, Mapping):
        return dict.fromkeys(row, 1.0)
    if not _FORM & set(row) or _FORM & set(labels):
        return {label: _number(value, where, label) for label, value in row.items()}
    if more := sorted(set(row) - _FORM):
        raise ValueError(
            f"{where}: found {more[0]!r} beside 'prototypical' and 'observational'; "
            "expected either these two, or labels with their probabilities"
        )
    certain, observed = row.get("prototypical") or [], row.get("observational") or {}
    certain = [certain] if isinstance(certain, str) else certain
    if isinstance(certain, Mapping) or not isinstance(observed, Mapping):
        raise ValueError(
            f"{where}: 'prototypical' is a list of labels, 'observational' a mapping from labels to weights"
        )
    for label in certain:
        if label in observed:
            raise ValueError(f"{where}: {label!r} is both prototypical and observational; expected one of them")
    cells = dict.fromkeys(certain, 1.0)
    return cells | {label: _number(value, where, label) for label, value in observed.items()}


def _number(value: Any, where: str, label: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        right = "expected a probability in [0, 1], or null where it is unknown"
        raise ValueError(f"{where}, cell {label!r}: found {value!r}; {right}")
    return float(value)
