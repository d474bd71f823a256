"""Training's rate beside LibMTL's on the same tasks, rows, network and batch, for 2, 4 and 8 tasks.

    pip install --no-deps --target libmtl LibMTL==1.1.5
    python tests/benchmarks/against_libmtl.py --libmtl libmtl

LibMTL (B. Lin, Y. Zhang, 2022) trains datasets that are labelled apart by a forward pass a task (`multi_input=True`).
Here its own Trainer does so: hard parameter sharing, equal weights, Adam, its own loss and accuracy classes, from
tensors in memory. Kindred trains by the same code as `kindred train`, from blocks, with one forward pass over the mixed
batch, on one thread as well; the losses are the supervised ones alone, since LibMTL has no others. Each has a process
of its own, and they take turns, a round each. With `--same-layout` LibMTL's images and convolutions are laid out with
channels last and its process keeps freed memory, as Kindred's do by default: what is left is the one pass over the
mixed batch.

What LibMTL 1.1.5 needs to run at all here: its device, hard-wired to cuda:0, is the CPU's; torchvision's module that
its ResNets import is an empty one; and the iterators that it is given have the method `next()`, which PyTorch's data
loaders had when it was written. Its printing is silenced. Nothing else of it is changed.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SKIPPED = 5  # steps at a round's beginning that are not timed


class Feed:
    """Batches in memory of one task, over and over; notes when each is asked for."""

    def __init__(self, batches: list[tuple[Tensor, Tensor]], length: int) -> None:
        self.batches, self.length = batches, length
        self.asked: list[tuple[float, float]] = []

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> "Feed":
        self.at = 0
        return self

    def next(self) -> tuple[Tensor, Tensor]:
        self.asked.append((time.perf_counter(), time.process_time()))
        self.at += 1
        return self.batches[self.at % len(self.batches)]

    __next__ = next  # noqa: A003


def import_libmtl(folder: Path | None) -> Any:
    """Import LibMTL, with an empty module for the one of torchvision that is not here."""
    if folder:
        sys.path.insert(0, str(folder))
    if "torchvision" not in sys.modules:
        for name in ("torchvision", "torchvision.models", "torchvision.models.utils"):
            sys.modules.setdefault(name, types.ModuleType(name))
        sys.modules["torchvision.models.utils"].load_state_dict_from_url = None  # type: ignore[attr-defined]
    import LibMTL
    import LibMTL.architecture
    import LibMTL.loss
    import LibMTL.metrics
    import LibMTL.weighting

    return LibMTL


def libmtl_trainer(
    libmtl: Any, tasks: dict[str, int], backbone: Any, features: int, lr: float, device: str = "cpu"
) -> Any:
    """Return LibMTL's Trainer on a device; tasks by name with the number of outputs, of classes where it is 10."""

    class BCE(libmtl.loss.AbsLoss):
        def compute_loss(self, pred: Tensor, gt: Tensor) -> Tensor:
            return nn.functional.binary_cross_entropy_with_logits(pred, gt)

    class LabelAccuracy(libmtl.metrics.AbsMetric):
        def update_fun(self, pred: Tensor, gt: Tensor) -> None:
            self.record.append(((pred > 0) == (gt > 0)).float().mean(dim=1).sum().item())
            self.bs.append(len(pred))

        def score_fun(self) -> list[float]:
            return [sum(self.record) / sum(self.bs)]

    class OnDevice(libmtl.Trainer):
        def _prepare_model(self, *given: Any) -> None:
            self.device = torch.device(device)
            super()._prepare_model(*given)

    of_classes = {name: "class" in name for name in tasks}
    return OnDevice(
        task_dict={
            name: {
                "metrics": ["Acc"],
                "metrics_fn": libmtl.metrics.AccMetric() if of_classes[name] else LabelAccuracy(),
                "loss_fn": libmtl.loss.CELoss() if of_classes[name] else BCE(),
                "weight": [1],
            }
            for name in tasks
        },
        weighting=libmtl.weighting.EW,
        architecture=libmtl.architecture.HPS,
        encoder_class=lambda: backbone,
        decoders=nn.ModuleDict({name: nn.Linear(features, outputs) for name, outputs in tasks.items()}),
        rep_grad=False,
        multi_input=True,
        optim_param={"optim": "adam", "lr": lr, "weight_decay": 1e-4},
        scheduler_param=None,
        weight_args={},
        arch_args={},
    )


def libmtl_rounds(
    folder: Path | None, same_layout: bool, case: Any, data_sets: Any, steps: int
) -> Callable[[int], list[float]]:
    """Return what trains by LibMTL's Trainer for a round, and returns steps a second by wall clock and processor."""
    from host_batch import gather_batch

    from mtlcore import seeded_init, small_cnn
    from pipelines.batches.batch import batch_sampler, open_readers
    from pipelines.case.build import tasks_of
    from pipelines.train.malloc import disable_malloc_trim

    libmtl = import_libmtl(folder)
    readers = open_readers(case, data_sets, "train")
    tasks = tasks_of(case)
    plan = batch_sampler(case, {name: len(reader) for name, reader in readers.items()}, 0, list(tasks))
    feeds = {}
    if same_layout:
        disable_malloc_trim()

    def layout(x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if same_layout else x

    for name, task in tasks.items():
        data_set = f"{name}_train"
        made = [gather_batch(readers, {data_set: plan.rows(step)[data_set]}, [task], case.input) for step in range(16)]
        labels = [b.labels[name] if "class" in name else b.labels[name].float() for b in made]
        feeds[name] = Feed([(layout(b.x), y) for b, y in zip(made, labels, strict=True)], steps + 1)
    with contextlib.redirect_stdout(io.StringIO()), seeded_init(0):
        backbone, features = small_cnn((3, 32, 32))
        if same_layout:
            backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        outputs = {name: len(task.outputs) for name, task in tasks.items()}
        trainer = libmtl_trainer(libmtl, outputs, backbone, features, case.training.optimizer.lr)
    first = feeds[next(iter(tasks))]

    def train(_: int) -> list[float]:
        first.asked.clear()
        with contextlib.redirect_stdout(io.StringIO()):
            tests = {name: Feed(feed.batches, 1) for name, feed in feeds.items()}
            trainer.train(feeds, tests, epochs=1)
        return _rates(first.asked[SKIPPED], first.asked[steps], steps - SKIPPED)

    return train


def kindred_rounds(case: Any, data_sets: Any, steps: int) -> Callable[[int], list[float]]:
    """Return what trains as one of Ray's workers does, and returns steps a second by wall clock and processor."""
    from dataclasses import replace

    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import list_runs
    from pipelines.train.assignment import WorkerAssignment
    from pipelines.train.data import open_training_data
    from pipelines.train.loop import train_run
    from pipelines.train.malloc import disable_malloc_trim
    from pipelines.train.worker import Worker

    disable_malloc_trim()
    data, run = open_training_data(case, data_sets), list_runs(case)[0]

    def train(round_: int) -> list[float]:
        marks: list[tuple[float, float]] = []

        def told(at: Any) -> None:
            if at.step in (SKIPPED, steps):
                marks.append((time.perf_counter(), time.process_time()))

        work = WorkerAssignment(case, (run,), data_sets, experiment_folder(case), "benchmark", on_progress=told)
        train_run(work, replace(run, seed=1000 + round_), data, Worker())
        return _rates(marks[0], marks[1], steps - SKIPPED)

    return train


@contextlib.contextmanager
def in_a_process(make: Callable[..., Callable[[int], list[float]]], *arguments: Any) -> Iterator[Callable[[int], Any]]:
    """Have a process of its own make what trains; yield what trains a round there."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()

    def train(round_: int) -> Any:
        ours.send(round_)
        return ours.recv()

    with ours:
        yield train
    process.join()


def _serve(pipe: Any, make: Callable[..., Callable[[int], list[float]]], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    train = make(*arguments)
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(train(pipe.recv()))


def rounds(
    case: Any, data_sets: Any, libmtl: tuple[Path | None, bool], steps: int, count: int
) -> Iterator[dict[str, list[float]]]:
    """Yield steps a second, by wall clock and by processor, of both, round by round; one trains while one waits."""
    with (
        in_a_process(kindred_rounds, case, data_sets, steps) as kindred,
        in_a_process(libmtl_rounds, *libmtl, case, data_sets, steps) as peer,
    ):
        for round_ in range(-1, count):  # the first warms up
            found = {"libmtl": peer(round_), "kindred": kindred(round_)}
            if round_ >= 0:
                yield found


def _rates(begun: tuple[float, float], ended: tuple[float, float], steps: int) -> list[float]:
    return [steps / (ended[i] - begun[i]) for i in (0, 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--libmtl", type=Path, help="the folder that LibMTL was installed into, if not on the path")
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50, help="a round's, of each")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--same-layout", action="store_true", help="give LibMTL Kindred's layout of memory")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a setting of Kindred's case")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.ingest.ingest import ingest

    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        cases = {}
        overrides = [f"training.steps={given.steps}", f"logging.every={SKIPPED}", *given.overrides]
        with ray_session():
            for tasks in given.tasks:
                (folder := Path(scratch) / str(tasks)).mkdir()
                case = made_case(folder, given.rows, tasks, related=False, overrides=overrides, name=f"tasks{tasks}")
                cases[tasks] = case, ingest(case)
        for tasks, (case, data_sets) in cases.items():
            found = list(rounds(case, data_sets, (given.libmtl, given.same_layout), given.steps, given.rounds))
            answer[str(tasks)] = {
                f"kindred / libmtl, {clock}": round(
                    statistics.median(each["kindred"][i] / each["libmtl"][i] for each in found), 3
                )
                for i, clock in enumerate(("wall", "processor"))
            } | {"rounds": found}
    if given.json:
        print(json.dumps({"load": os.getloadavg(), "tasks": answer}))
        return
    for tasks, of in answer.items():
        print(f"{tasks} tasks: {', '.join(f'{name}: {ratio}' for name, ratio in of.items() if name != 'rounds')}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
