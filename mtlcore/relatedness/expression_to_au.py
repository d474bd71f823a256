"""The published relatedness of facial expressions to action units (Du, Tao and Martinez, PNAS 2014)."""

from typing import Any

import torch

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel

CITATION = "S. Du, Y. Tao, A. M. Martinez, 'Compound facial expressions of emotion', PNAS 2014, table 1"
# Prototypical action units weigh 1; observational ones carry the fraction of people who show them.
_TABLE: dict[str, dict[str, Any]] = {
    "happiness": {"prototypical": ["AU12", "AU25"], "observational": {"AU6": 0.51}},
    "sadness": {
        "prototypical": ["AU4", "AU15"],
        "observational": {"AU1": 0.60, "AU6": 0.50, "AU11": 0.26, "AU17": 0.67},
    },
    "fear": {
        "prototypical": ["AU1", "AU4", "AU20", "AU25"],
        "observational": {"AU2": 0.57, "AU5": 0.63, "AU26": 0.33},
    },
    "anger": {"prototypical": ["AU4", "AU7", "AU24"], "observational": {"AU10": 0.26, "AU17": 0.52, "AU23": 0.29}},
    "surprise": {"prototypical": ["AU1", "AU2", "AU25", "AU26"], "observational": {"AU5": 0.66}},
    "disgust": {"prototypical": ["AU9", "AU10", "AU17"], "observational": {"AU4": 0.31, "AU24": 0.26}},
}
_UNITS = tuple(f"AU{unit}" for unit in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26))


def expression_to_au(expression: Multiclass | None = None, action_units: Multilabel | None = None) -> Relatedness:
    """Return the relatedness of the six basic expressions (``expression``) to 17 action units (``action_units``).

    S. Du, Y. Tao, A. M. Martinez, "Compound facial expressions of emotion", PNAS 2014, table 1.

    Args:
        expression: your task, if it is not the six: any of them, in any order. The row of a class that the table does
            not have (``neutral``) is unknown.
        action_units: your task, if it is not the 17 (``AU1``, ``AU2``, ...). The column of a unit that the table does
            not have is unknown.

    Raises:
        ValueError: none of the classes, or none of the units, is the table's.

    Example:
        >>> from mtlcore import Multiclass, Multilabel, expression_to_au
        >>> R = expression_to_au()
        >>> R.table[R.source.outputs.index("happiness"), R.target.outputs.index("AU6")]
        tensor(0.5100, dtype=torch.float64)
        >>> print(expression_to_au(Multiclass("mood", ("neutral", "happiness")), Multilabel("au", ("AU6", "AU12"))))
        P(au | mood)   AU6  AU12
        neutral          ?     ?
        happiness     0.51     1
    """
    whole = Relatedness.from_rows(
        Multiclass("expression", tuple(_TABLE)), Multilabel("action_units", _UNITS), _TABLE, provenance=CITATION
    )
    source, target = expression or whole.source, action_units or whole.target
    for task, names in ((source, tuple(_TABLE)), (target, _UNITS)):
        if not set(task.outputs) & set(names):
            raise ValueError(f"task {task.name!r}: found {', '.join(task.outputs)}; the table has {', '.join(names)}")
    table = torch.full((len(source.outputs), len(target.outputs)), torch.nan, dtype=torch.float64)
    for i, name in enumerate(source.outputs):
        for j, unit in enumerate(target.outputs):
            if name in _TABLE and unit in _UNITS:
                table[i, j] = whole.table[whole.source.outputs.index(name), whole.target.outputs.index(unit)]
    return Relatedness(source, target, table, provenance=CITATION)
