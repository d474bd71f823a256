"""Estimates trust in a fixed problem on some workers; run as a program: RANK, number of workers, folder."""

import sys
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist

from mtlcore import Multiclass, Multilabel, Relatedness, RelatednessTrust

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
    return {"trust": trust.by_edge()[R.key], **{name: value.clone() for name, value in trust.state_dict().items()}}


if __name__ == "__main__":
    rank, workers, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    safetensors.torch.save_file(estimated(rank, workers), str(folder / f"{rank}.safetensors"))
    dist.destroy_process_group()
