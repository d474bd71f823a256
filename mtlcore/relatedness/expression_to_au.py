"""The published relatedness of facial expressions to action units (Du, Tao and Martinez, PNAS 2014)."""

import torch

from mtlcore.relatedness.expression_table import CITATION, EXPRESSION_UNITS, UNITS
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multiclass, Multilabel


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
        Multiclass("expression", tuple(EXPRESSION_UNITS)),
        Multilabel("action_units", UNITS),
        EXPRESSION_UNITS,
        provenance=CITATION,
    )
    source, target = expression or whole.source, action_units or whole.target
    for task, names in ((source, tuple(EXPRESSION_UNITS)), (target, UNITS)):
        if not set(task.outputs) & set(names):
            raise ValueError(f"task {task.name!r}: found {', '.join(task.outputs)}; the table has {', '.join(names)}")
    table = torch.full((len(source.outputs), len(target.outputs)), torch.nan, dtype=torch.float64)
    for i, name in enumerate(source.outputs):
        for j, unit in enumerate(target.outputs):
            if name in EXPRESSION_UNITS and unit in UNITS:
                table[i, j] = whole.table[whole.source.outputs.index(name), whole.target.outputs.index(unit)]
    return Relatedness(source, target, table, provenance=CITATION)
