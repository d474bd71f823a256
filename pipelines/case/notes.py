"""Notes on a valid case: what its author would want to know before the case runs."""

from collections.abc import Iterator

from mtlcore import Multiclass, Multilabel, Relatedness
from pipelines.case.case import Case
from pipelines.case.training import Matching

_MOST = 4  # pairs of classes that are named


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
        if isinstance(tasks[edge.target], Multilabel) and (pairs := nested_rows(relatedness_of(edge, tasks))):
            more = f" and {len(pairs) - _MOST} more" if len(pairs) > _MOST else ""
            yield (
                f"relatedness.{i}.table: found {', '.join(pairs[:_MOST])}{more}; with sca.source_form 'paper' (arm "
                f"{', '.join(arms)}) an image of the second class teaches the first as well; "
                "sca.source_form: bayes counts the labels that are absent, or give the first a label of its own"
            )


def nested_rows(relatedness: Relatedness) -> list[str]:
    """Name the pairs of rows of which the first has no label that the second lacks; equal rows once."""
    holds = relatedness.table > 0  # an unknown cell takes no part
    nested = ~(holds[:, None] & ~holds[None]).any(dim=2) & holds.any(dim=1)[:, None]
    names = relatedness.source.outputs
    pairs = []
    for c, d in nested.fill_diagonal_(False).nonzero().tolist():
        if not bool(nested[d, c]):
            pairs.append(f"{names[c]} within {names[d]}")
        elif c < d:
            pairs.append(f"{names[c]} like {names[d]}")
    return pairs
