"""Does training on a GPU come to what it comes to on the CPU? Runs where a GPU is present; says so where none is.

    python tests/benchmarks/gpu_check.py

The shipped case `digits` and the small CNN on images of noise are trained for `--steps` steps on the CPU and with
`training.device=cuda`: the curves agree to rounding, which grows step by step. Then, on the GPU alone: bfloat16,
channels first, a compiled backbone, a batch in pieces, a bound on the gradient that none reaches; each against the
GPU's own plain curve. With two GPUs or more, two workers and two sharded workers too. Exit code 0: all agree; 1: one
does not, or there is no GPU to ask.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

# How far the losses of a curve may lie apart, relative to the loss.
TOLERANCE = {"the CPU's": 0.02, "bfloat16": 0.1}
VARIANTS = {
    "bfloat16": ["training.precision=bfloat16"],
    "channels first": ["training.channels_last=false"],
    "compile": ["training.compile=true"],
    "accumulate": ["training.accumulate=4"],
    "clip_norm": ["training.clip_norm=1000"],
    "two workers": ["training.workers=2"],
    "two sharded workers": ["training.workers=2", "training.shard=true"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(f"no GPU here: torch {torch.__version__} sees none; nothing was checked")

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.case.load import load_case
    from pipelines.ingest.ingest import ingest, ingested

    answer: dict[str, Any] = {"gpu": torch.cuda.get_device_name(), "gpus": torch.cuda.device_count()}
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch, ray_session():
        folder = Path(scratch)
        short = [f"training.steps={given.steps}", "training.seeds=[0]", "training.schedule=constant"]

        def digits(store: str, *settings: str) -> Any:
            arms = ["arms={joint: {}}", "evaluation.baseline=joint"]
            return load_case("digits", [f"storage.path={folder / store}", *short, *arms, *settings])

        def small_cnn(store: str, *settings: str) -> Any:
            stored = [f"storage.path={folder / store}", f"storage.blocks={folder / 'blocks'}"]
            return made_case(folder, 2048, overrides=[*short, *stored, *settings])

        for case_of in (digits, small_cnn):
            ingest(case_of("cpu"))
            cpu = curve(case_of("cpu"), ingested)
            gpu = curve(case_of("gpu", "training.device=cuda"), ingested)
            apart = {"the CPU's": distance(gpu, cpu)}
            for name, settings in VARIANTS.items():
                if "workers" in name and torch.cuda.device_count() < 2:
                    continue
                case = case_of(name.replace(" ", "-"), "training.device=cuda", *settings)
                ingest(case)
                apart[name] = distance(curve(case, ingested), gpu)
            answer[case_of.__name__] = {name: round(value, 6) for name, value in apart.items()}
            worst = max(worst, *(value / TOLERANCE.get(name, 0.02) for name, value in apart.items()))
    print(json.dumps(answer, indent=None if given.json else 1))
    if not worst <= 1:
        sys.exit("curves lie further apart than rounding explains")


def curve(case: Any, ingested: Any) -> np.ndarray:
    """Train a case's one run with Ray Train, and return its loss by step."""
    import pyarrow.parquet as pq

    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import HISTORY, list_runs
    from pipelines.train.launch import train

    train(case, ingested(case))
    folder = Path(list_runs(case)[0].folder(experiment_folder(case)))
    return np.asarray(pq.read_table(folder / HISTORY).column("loss"))


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean over steps of how far two losses lie apart, relative to the loss."""
    return float(np.mean(np.abs(a - b) / np.abs(b)))


if __name__ == "__main__":
    main()
