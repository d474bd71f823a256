"""Two worker processes that a session's tests share: what Ray Train starts, without the seconds of starting it."""

import multiprocessing
import os
import socket
import traceback
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.ingest.ingest import ingested
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.data import open_training_data
from pipelines.train.loop import train_run
from pipelines.train.worker import Worker, gradient_sum_settings


class TwoWorkers:
    """Call a function in both processes at once, by ``two_workers(function, *arguments)``: ``function(rank, ...)``."""

    def __init__(self):
        self._pipes, self._processes = [], []

    def _start(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        spawn = multiprocessing.get_context("spawn")
        for rank in (0, 1):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(rank, port, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __call__(self, function, *arguments):
        if not self._processes:
            self._start()
        for pipe in self._pipes:
            pipe.send((function, arguments))
        failures = [failure for pipe in self._pipes if (failure := _answer(pipe))]
        if failures:  # one that failed has ended, and the other's connection to it is broken
            self.close()
        assert not failures, "\n".join(failures)

    def train(self, case):
        """Train all runs of an ingested case; return their folders by run."""
        self(train_share, case, ingested(case))
        return {run: Path(run.folder(experiment_folder(case))) for run in list_runs(case)}

    def close(self):
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            process.kill()
        self._pipes, self._processes = [], []


def join_workers(rank, workers, store):
    """Make this process one of some workers."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=workers)


def train_share(rank, case, data_sets, experiment=None):
    """Train a case's runs as one of the workers that this process has joined; in the case's own folder, or another."""
    runs = tuple(list_runs(case))
    work = WorkerAssignment(case, runs, data_sets, str(experiment or experiment_folder(case)), "attempt")
    data = open_training_data(case, data_sets)
    workers = dist.get_world_size()
    whole = partial(torch.nn.parallel.DistributedDataParallel, **gradient_sum_settings(workers))
    wrap = _never if case.training.shard else whole
    for run in runs:
        train_run(work, run, data, Worker(rank, workers, torch.device("cpu"), wrap))


def _never(network):
    raise AssertionError("a sharded network is whole on no worker")


def _answer(pipe):
    try:
        return pipe.recv()
    except EOFError:
        return "one of the two processes has ended"


def _serve(rank, port, pipe):
    join_workers(rank, 2, f"tcp://127.0.0.1:{port}")
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            function(rank, *arguments)
            pipe.send(None)
        except BaseException:
            pipe.send(traceback.format_exc())
            raise  # the other waits for this one's sums: its connection must break
