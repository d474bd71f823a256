"""The trust record of a run: how far the observed labels agree with the relatedness tables."""

from typing import Any

import torch

from mtlcore import RelatednessTrust

# A cell below this is told. Of a table that is wrong throughout, the least trusted cells are enough.
DOUBTED, MOST = 0.5, 1000


def trust_record(trust: RelatednessTrust) -> dict[str, Any]:
    """Return by edge (``A->B``) the mean trust of every row's known cells, and the cells that are doubted.

    ``rows``: by output of A; a row that is wholly unknown is left out. ``doubted``: ``source``, ``target``, the
    ``trust``, what the ``table`` says, and the share that was ``observed`` with its interval, ``low`` and ``high``;
    the least trusted first.
    """
    of_edges, observed_of_edges = trust.by_edge(), trust.observed()
    record = {}
    for R in trust.relatednesses:
        cells, observed = of_edges[R.key].cpu(), observed_of_edges[R.key]
        table, known = R.table, ~torch.isnan(R.table)
        means = (cells * known).sum(dim=1) / known.sum(dim=1)
        share, low, high = (part.cpu() for part in observed)
        doubted = ((cells < DOUBTED) & known).nonzero().tolist()
        record[R.key] = {
            "rows": {row: mean for row, mean in zip(R.source.outputs, means.tolist(), strict=True) if mean == mean},
            "doubted": [
                {
                    "source": R.source.outputs[i],
                    "target": R.target.outputs[j],
                    "trust": float(cells[i, j]),
                    "table": float(table[i, j]),
                    "observed": float(share[i, j]),
                    "low": float(low[i, j]),
                    "high": float(high[i, j]),
                }
                for i, j in sorted(doubted, key=lambda cell: float(cells[cell[0], cell[1]]))[:MOST]
            ],
        }
    return record
