"""Estimates trust in a fixed problem on one worker or several."""

import safetensors.torch
import torch

from mtlcore import Multiclass, Multilabel, Relatedness, RelatednessTrust, cell_trust

A, B = Multiclass("A", ("a", "b", "c", "d")), Multilabel("B", ("l", "m", "n"))
R = Relatedness.from_rows(A, B, {"a": "l", "b": ["m", "n"], "c": ["l", "n"], "d": []})
ROWS = 24


def estimated(rank: int, workers: int) -> dict[str, torch.Tensor]:
    """Return the trust and the probes after 150 steps; the first worker holds no label of B at all."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.randn(4, 12, generator=draw)
    trust = RelatednessTrust([R], {"A": 12, "B": 12})
    for _ in range(150):
        c = torch.randint(4, (ROWS,), generator=draw)
        h = centres[c] + 0.5 * torch.randn(ROWS, 12, generator=draw)
        y_A, y_B = c.clone(), R.table[c].long()
        y_A[ROWS // 2 :], y_B[: ROWS // 2] = -1, -1
        mine = slice(rank * ROWS // workers, (rank + 1) * ROWS // workers)
        trust.observe({"A": h[mine], "B": h[mine]}, {"A": y_A[mine], "B": y_B[mine]})
    inverted = cell_trust(Relatedness(A, B, 1 - R.table), trust.observed()[R.key])
    return {
        "wrong": inverted,
        "trust": trust.by_edge()[R.key],
        **{name: value.clone() for name, value in trust.state_dict().items()},
    }


def estimate(rank, folder):
    """Estimate as one of two workers; write what came of it."""
    safetensors.torch.save_file(estimated(rank, 2), str(folder / f"{rank}.safetensors"))
