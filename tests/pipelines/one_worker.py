"""Train in the test's own process, as one worker: what needs no other process needs no trainer."""

from pathlib import Path

import torch

from pipelines import commands
from pipelines.batches.measured_labels import with_measured_labels
from pipelines.batches.measured_scaling import with_measured_scaling
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingest, ingested
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker


def train_here(case, on_progress=None, experiment=None):
    """Train all runs of an ingested case; return their folders by run."""
    torch.set_num_threads(case.training.threads_per_worker)
    data_sets, runs = ingested(case), tuple(list_runs(case))
    work = WorkerAssignment(
        case, runs, data_sets, str(experiment or experiment_folder(case)), "attempt", on_progress=on_progress
    )
    data = open_training_data(case, data_sets)
    for run in runs:
        train_run(work, run, data, Worker())
    return {run: Path(run.folder(work.experiment)) for run in runs}


def ingest_and_train_here(case):
    """Do in this process what `kindred run` does first: the command finds its runs done."""
    data_sets = ingest(case)
    return train_here(with_measured_labels(with_measured_scaling(case, data_sets), data_sets))


def run_here(case):
    """Do all that `kindred run` does, but train in this process."""
    ingest_and_train_here(case)
    return commands.run(case, fresh=False)
