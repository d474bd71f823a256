"""The published relatedness of facial expressions to action units."""

from mtlcore.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel

# Prototypical action units weigh 1; observational ones carry the fraction of people who show them.
_TABLE: dict[str, dict[int, float]] = {
    "happiness": {12: 1, 25: 1, 6: 0.51},
    "sadness": {4: 1, 15: 1, 1: 0.60, 6: 0.50, 11: 0.26, 17: 0.67},
    "fear": {1: 1, 4: 1, 20: 1, 25: 1, 2: 0.57, 5: 0.63, 26: 0.33},
    "anger": {4: 1, 7: 1, 24: 1, 10: 0.26, 17: 0.52, 23: 0.29},
    "surprise": {1: 1, 2: 1, 25: 1, 26: 1, 5: 0.66},
    "disgust": {9: 1, 10: 1, 17: 1, 4: 0.31, 24: 0.26},
}


def expression_to_au() -> Relatedness:
    """Return the relatedness of the six basic expressions (``expression``) to 17 action units (``action_units``).

    S. Du, Y. Tao, A. M. Martinez, "Compound facial expressions of emotion", PNAS 2014, table 1.

    Example:
        >>> from mtlcore import expression_to_au
        >>> R = expression_to_au()
        >>> R.table[R.source.outputs.index("happiness"), R.target.outputs.index("AU6")]
        tensor(0.5100, dtype=torch.float64)
    """
    units = sorted({unit for row in _TABLE.values() for unit in row})
    source = Multiclass("expression", tuple(_TABLE))
    target = Multilabel("action_units", tuple(f"AU{unit}" for unit in units))
    rows = {name: {f"AU{unit}": weight for unit, weight in row.items()} for name, row in _TABLE.items()}
    return Relatedness.from_rows(source, target, rows)
