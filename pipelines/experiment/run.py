"""The runs of a case: one trained network per arm and seed, or per arm, seed and task."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
from torch import Tensor

from pipelines.base.progress import note
from pipelines.base.storage import join, read_bytes, write_whole
from pipelines.blocks.datasets import DataSets
from pipelines.case.case import Case
from pipelines.experiment.layout import RUNS
from pipelines.experiment.provenance import provenance


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

    def folder(self, experiment: str) -> str:
        """Return where the run lies in an experiment's folder."""
        return join(experiment, RUNS, self.arm, self.network, f"seed-{self.seed}")


def list_runs(case: Case) -> list[Run]:
    """Return every run of a case, seed by seed; arms that train the same networks share the first one's runs."""
    runs = []
    for seed in case.training.seeds:
        for name, arm in case.arms.items():
            if case.trained_as(name) != name:
                continue
            if arm.networks == "shared":
                runs.append(Run(name, "shared", case.tasks_of_arm(name), seed))
            else:
                runs += [Run(name, task, (task,), seed) for task in case.tasks_of_arm(name)]
    return runs


WEIGHTS, HISTORY, RECORD, PREDICTIONS = "model.safetensors", "history.parquet", "run.json", "test.safetensors"
VALIDATIONS = "validation.parquet"


def write_record(folder: str, run: Run, data_sets: DataSets, content: dict[str, Any]) -> None:
    """Write run.json, the last file of a run: where it stands the run is whole."""
    write_whole_record(folder, {"run": asdict(run), "provenance": provenance(data_sets), **content})


def write_whole_record(folder: str, record: Mapping[str, Any]) -> None:
    """Write run.json as it is given: all that :func:`write_record` puts together."""
    write_whole(join(folder, RECORD), json.dumps(record, indent=1))


def read_record(folder: str) -> dict[str, Any] | None:
    """Return run.json, or None where the run has not ended, or the file is damaged: then it is made again."""
    try:
        record = json.loads(read_bytes(join(folder, RECORD)))
        if not isinstance(record, dict) or not {"run", "provenance"} <= set(record):
            raise ValueError("not a run's record")
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        note(f"{join(folder, RECORD)}: cut short or damaged; the run counts as not ended")
        return None
    return record


def read_weights(folder: str) -> dict[str, Tensor]:
    """Return a run's weights by name.

    Raises:
        FileNotFoundError: the run has not ended.
    """
    weights: dict[str, Tensor] = safetensors.torch.load(read_bytes(join(folder, WEIGHTS)))
    return weights


def is_done(run: Run, experiment: str, data_sets: DataSets) -> bool:
    """Say whether a run has ended and was made by this training version from these data: it need not be made again."""
    record = read_record(run.folder(experiment))
    return record is not None and record.get("provenance") == provenance(data_sets)
