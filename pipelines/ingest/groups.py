"""Leakage over groups: a subject or a video of which rows stand in two splits."""

from collections.abc import Sequence
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.case.case import Case
from pipelines.ingest.list_rows import ListedDataSet
from pipelines.sources.listing import column


def check_groups(case: Case, listed: Sequence[ListedDataSet]) -> None:
    """Refuse a case in which a group stands in two splits: of datasets that name the same column for their groups.

    Raises:
        UserError: names the datasets and some of the groups.
    """
    groups = {
        of.name: (named, _values(of, named))
        for of in listed
        if (named := case.datasets[of.name].group_column) is not None
    }
    for (a, (column_a, of_a)), (b, (column_b, of_b)) in combinations(groups.items(), 2):
        splits = [case.datasets[name].split for name in (a, b)]
        if splits[0] == splits[1] or column_a != column_b:
            continue
        shared = of_a.filter(pc.is_in(of_a, of_b))
        if len(shared):
            some = ", ".join(sorted(shared.to_pylist())[:4])
            raise UserError(
                f"datasets.{a} ({splits[0]}) and datasets.{b} ({splits[1]}): found {len(shared):,} values of "
                f"{column_a!r} in both ({some}{', ...' if len(shared) > 4 else ''}); expected each in one split alone "
                f"(a network that knows a {column_a} from training is not tested on what is new to it)"
            )


def _values(of: ListedDataSet, named: str) -> pa.Array:
    cells = column(of.fields, named, f"datasets.{of.name}.groups")
    return pc.unique(cells.cast(pa.string()).drop_null()).sort()
