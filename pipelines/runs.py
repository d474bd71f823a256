"""The runs of a case: one network trained once. An arm is a run a seed, or a run a seed and task."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mtlcore
import pipelines
from pipelines.case import Case


@dataclass(frozen=True)
class Run:
    """One network trained once.

    Attributes:
        arm: the arm that it belongs to.
        network: ``shared``, or the name of the one task that it serves.
        tasks: the tasks that it serves.
        seed: of its parameters and of the order of the rows.
    """

    arm: str
    network: str
    tasks: tuple[str, ...]
    seed: int

    def __str__(self) -> str:
        network = "" if self.network == "shared" else f"/{self.network}"
        return f"{self.arm}{network}/seed-{self.seed}"

    def folder(self, experiment: Path) -> Path:
        """Return where the run lies in an experiment's folder."""
        return experiment / "runs" / self.arm / self.network / f"seed-{self.seed}"


def list_runs(case: Case) -> list[Run]:
    """Return every run of a case, seed by seed."""
    runs = []
    for seed in case.training.seeds:
        for name, arm in case.arms.items():
            if arm.networks == "shared":
                runs.append(Run(name, "shared", tuple(case.tasks), seed))
            else:
                runs += [Run(name, task, (task,), seed) for task in case.tasks]
    return runs


WEIGHTS, HISTORY, RECORD, PREDICTIONS = "model.safetensors", "history.parquet", "run.json", "test.safetensors"


def write_record(folder: Path, run: Run, content: dict[str, Any]) -> None:
    """Write run.json, the last file of a run: where it stands the run is whole."""
    from pipelines.atomic import write_atomically

    record = {"run": asdict(run), "code": code_digest(), **content}
    write_atomically(folder / RECORD, json.dumps(record, indent=1))


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return run.json, or None where the run has not ended."""
    file = folder / RECORD
    record: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return record


def is_done(run: Run, experiment: Path) -> bool:
    """Say whether a run has ended and was made by this very code: such a run need not be made again."""
    record = read_record(run.folder(experiment))
    return record is not None and record["code"] == code_digest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of the code that decides what a run computes."""
    trains = ["batches", "blocks", "method", "mixing", "permutation", "runs", "train_loop"]
    files = sorted(Path(mtlcore.__path__[0]).glob("*.py"))
    files += [Path(pipelines.__path__[0]) / f"{name}.py" for name in trains]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:12]
