"""Notes on a valid case: what its author would want to know before the case runs."""

from collections.abc import Iterator

import torch

from mtlcore import Multiclass, Multilabel, Relatedness
from pipelines.case.case import Case
from pipelines.case.training import Matching

_MOST = 4  # pairs of classes that are named
_ROWS_AT_ONCE = 1024


def case_notes(case: Case) -> list[str]:
    """Return what is worth saying of a valid case, a line a matter: ``key: what was found; what can be done``."""
    return list(_indistinct_rows(case))


def _indistinct_rows(case: Case) -> Iterator[str]:
    """The paper's co-annotation score does not see what is absent: a class within another cannot be told from it."""
    from pipelines.case.build import relatedness_of, tasks_of

    arms = [
        name
        for name, arm in case.arms.items()
        if arm.networks == "shared"
        and isinstance(arm.matching, Matching)
        and (sca := arm.matching.sca).weight
        and sca.to_source
        and sca.source_form == "paper"
    ]
    if not arms:
        return
    tasks = tasks_of(case)
    for i, edge in enumerate(case.relatedness):
        if edge.table is None or not isinstance(tasks[edge.source], Multiclass):
            continue
        if isinstance(tasks[edge.target], Multilabel):
            pairs, how_many = nested_rows(relatedness_of(edge, tasks))
            if not pairs:
                continue
            more = f" and {how_many - len(pairs):,} more" if how_many > len(pairs) else ""
            yield (
                f"relatedness.{i}.table: found {', '.join(pairs)}{more}; with sca.source_form 'paper' (arm "
                f"{', '.join(arms)}) an image of the second class teaches the first as well; "
                "sca.source_form: bayes counts the labels that are absent, or give the first a label of its own"
            )


def nested_rows(relatedness: Relatedness) -> tuple[list[str], int]:
    """Name the first pairs of rows of which one has no label that the other lacks; count all, equal rows once."""
    holds = (relatedness.table > 0).float()  # an unknown cell takes no part
    sizes, names = holds.sum(dim=1), relatedness.source.outputs
    pairs: list[str] = []
    how_many = 0
    for start in range(0, len(holds), _ROWS_AT_ONCE):  # of 10,000 classes there are 10^8 pairs
        part = slice(start, start + _ROWS_AT_ONCE)
        within = (holds[part] @ (1 - holds).T == 0) & (sizes[part] > 0)[:, None]
        first = torch.arange(len(holds))[part, None]
        same = sizes[part, None] == sizes[None]
        within &= (~same | (first < torch.arange(len(holds)))) & (first != torch.arange(len(holds)))
        how_many += int(within.sum())
        if len(pairs) < _MOST:
            for c, d in within.nonzero()[: _MOST - len(pairs)].tolist():
                pairs.append(f"{names[start + c]} {'like' if same[c, d] else 'within'} {names[d]}")
    return pairs, how_many
