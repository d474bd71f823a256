"""Relatedness from a class hierarchy of any number of levels."""

from collections.abc import Mapping

import torch

from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.suggestions import did_you_mean
from mtlcore.tasks import Multiclass, Task


def relatedness_from_hierarchy(
    source: Task, target: Task, parent_of: Mapping[str, str], provenance: str = "a hierarchy"
) -> Relatedness:
    """Build R from child -> parent: R[c, k] = 1 where k is the nearest ancestor of c (or c itself) among B's outputs.

    Args:
        source: the lower level (or a set of labels, each of which belongs somewhere).
        target: the higher level.
        parent_of: parent by child; a whole tree or forest, whose levels between the two need not be tasks.
        provenance: where it comes from.

    Raises:
        ValueError: a class reaches no class of ``target``, or the parents go in a circle; names the class and how far
            it came.

    Example:
        >>> from mtlcore import Multiclass, relatedness_from_hierarchy
        >>> species, order = Multiclass("species", ("crow", "gull")), Multiclass("order", ("songbirds", "shorebirds"))
        >>> tree = {"crow": "corvids", "corvids": "songbirds", "gull": "larids", "larids": "shorebirds"}
        >>> relatedness_from_hierarchy(species, order, tree).table
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    rows = {name: _ancestor(name, source, target, parent_of) for name in source.outputs}
    return Relatedness.from_rows(source, target, rows, provenance=provenance)


def composed_relatedness(lower: Relatedness, upper: Relatedness) -> Relatedness:
    r"""Compose the edges A -> M and M -> B to A -> B: :math:`R = R_{AM} R_{MB}`.

    Exact where B depends on A through M alone, as in a hierarchy. M has to be multiclass: its classes exclude each
    other. A row of A that leads to an unknown cell with a probability above 0 is unknown there.

    Args:
        lower: of A, of any kind, to the multiclass M.
        upper: of the same M to B, of any kind.

    Raises:
        ValueError: the edges do not meet in one multiclass task.

    Example:
        >>> from mtlcore import Multiclass, composed_relatedness, relatedness_from_hierarchy
        >>> species, family = Multiclass("species", ("crow", "gull")), Multiclass("family", ("corvids", "larids"))
        >>> order = Multiclass("order", ("songbirds", "shorebirds"))
        >>> first = relatedness_from_hierarchy(species, family, {"crow": "corvids", "gull": "larids"})
        >>> second = relatedness_from_hierarchy(family, order, {"corvids": "songbirds", "larids": "shorebirds"})
        >>> composed_relatedness(first, second).table[0]
        tensor([1., 0.], dtype=torch.float64)
    """
    if lower.target != upper.source:
        raise ValueError(f"{lower.edge}, {upper.edge}: the first does not lead to the task that the second starts from")
    if not isinstance(lower.target, Multiclass):
        raise ValueError(f"{lower.edge}, {upper.edge}: the task between is multilabel; expected a multiclass one")
    table = lower.table.nan_to_num(0.0) @ upper.table.nan_to_num(0.0)
    reaches_unknown = (lower.table.nan_to_num(0.0) > 0).double() @ upper.table.isnan().double() > 0
    table = table.masked_fill(reaches_unknown | lower.table.isnan().any(dim=1, keepdim=True), torch.nan)
    if isinstance(upper.target, Multiclass):  # a row is known or unknown as a whole
        table = table.masked_fill(table.isnan().any(dim=1, keepdim=True), torch.nan)
    table = table.clamp(max=1.0)
    base = None if lower.base is None or table.isnan().all() else _composed_base(lower, upper)
    return Relatedness(lower.source, upper.target, table, base, provenance=f"{lower.edge}, then {upper.edge}")


def _composed_base(lower: Relatedness, upper: Relatedness) -> torch.Tensor | None:
    if lower.base is None or upper.table.isnan().any():
        return None
    return (lower.base.double() @ upper.table).clamp(max=1.0)


def _ancestor(name: str, source: Task, target: Task, parent_of: Mapping[str, str]) -> str:
    edge = f"relatedness {source.name} -> {target.name}, row {name!r}"
    passed = [name]
    while passed[-1] not in target.outputs:
        if passed[-1] not in parent_of:
            names = target.outputs if len(passed) > 1 else list(parent_of)
            raise ValueError(
                f"{edge}: {' -> '.join(passed)} has no parent and is no class of {target.name!r}"
                f"{did_you_mean(passed[-1], names)}"
            )
        passed.append(parent_of[passed[-1]])
        if passed[-1] in passed[:-1]:
            raise ValueError(f"{edge}: {' -> '.join(passed)} goes in a circle; expected a tree")
    return passed[-1]
