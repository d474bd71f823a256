"""Two workers with one thread each over one worker with one thread, and where the time goes.

    python tests/benchmarks/two_workers.py --rounds 5

Two worker processes of Ray Train stay alive and take turns at four things, the same small CNN and batch throughout:

    one         the first alone, the whole batch (of 128 rows, or what --batch says)
    two         both, the same batch shared between them
    half        the first alone, half of the batch
    apart       both at once, half of the batch each, and nothing to tell each other

two / one is what counts, 2 would be perfect. It is the product of what is lost to smaller batches (half / one, over 2),
to two processes on one machine's caches and memory, and to Ray's own that want to run as well (apart / half, over the
mean of both workers), to the slower of the two, for whom the other has to wait (slower / apart), and to sums over
workers and to waiting for each other in single steps (two / slower). The share of time spent waiting for data is
printed too. Medians over rounds. What the machine itself allows is measured first: two processes beside one that
multiply small matrices, and that copy memory.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SKIPPED = 4  # steps at a round's beginning that are not timed


def matrices() -> Callable[[], None]:
    import torch

    torch.set_num_threads(1)
    a, product = torch.rand(256, 256), torch.empty(256, 256)

    def multiply() -> None:
        for _ in range(50):
            torch.mm(a, a, out=product)

    return multiply


def memory() -> Callable[[], None]:
    import torch

    torch.set_num_threads(1)
    here, there = torch.rand(16 << 20), torch.empty(16 << 20)

    def copy() -> None:
        there.copy_(here)

    return copy


def times_a_second(prepare: Callable[[], Callable[[], None]]) -> float:
    work, n = prepare(), 0
    work()
    start = time.perf_counter()
    while time.perf_counter() < start + 1:
        work()
        n += 1
    return n / (time.perf_counter() - start)


def of_the_machine() -> dict[str, float]:
    """What two processes do beside one, by kind of work; medians of five."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return {
            prepare.__name__: round(
                statistics.median(
                    sum(pool.map(times_a_second, [prepare] * 2, chunksize=1)) / pool.apply(times_a_second, (prepare,))
                    for _ in range(5)
                ),
                2,
            )
            for prepare in (matrices, memory)
        }


def take_turns(config: dict[str, Any]) -> None:
    """Run in both workers: the first writes steps a second by thing and round."""
    from contextlib import contextmanager
    from dataclasses import replace
    from datetime import timedelta

    import ray.train
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from pipelines.train.data import open_training_data
    from pipelines.train.loop import train_run
    from pipelines.train.malloc import disable_malloc_trim
    from pipelines.train.worker import Worker

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    disable_malloc_trim()  # as the function does that Ray calls
    rank = ray.train.get_context().get_world_rank()
    works, steps, folder, whole = config["works"], config["steps"], Path(config["folder"]), config["batch"]
    data = {batch: open_training_data(work.case, work.data_sets) for batch, work in works.items()}
    cpu = torch.device("cpu")

    @contextmanager
    def together(name: str) -> Any:
        store = (folder / name).as_uri()
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=timedelta(minutes=5))
        yield
        dist.barrier()
        dist.destroy_process_group()

    def timed(batch: int, worker: Worker, seed: int) -> dict[str, float]:
        marks: dict[int, float] = {}
        work = replace(works[batch], on_progress=lambda at: marks.setdefault(at.step, time.perf_counter()))
        run = replace(work.runs[0], arm="joint", seed=seed)
        if worker.world_size == 1:
            run = replace(run, network=f"worker-{rank}")
        begun = time.process_time()
        train_run(work, run, data[batch], worker)
        spent = time.process_time() - begun
        if worker.rank:
            return {}
        rate = (steps - SKIPPED) / (marks[steps] - marks[SKIPPED])
        if rank:
            (folder / "rate-of-the-second").write_text(str(rate))
            return {}
        record = json.loads((Path(run.folder(work.experiment)) / "run.json").read_text())
        return {
            "rate": rate,
            "waited": record["waited_for_data_s"] / record["seconds"],
            "processor": spent,
        }

    found: dict[str, list[dict[str, float]]] = {}
    for round_ in range(-1, config["rounds"]):  # the first warms up
        seed = 1000 + round_
        for name in ("one", "two", "half", "apart"):
            with together(f"{name}-{round_}-begins"):
                pass
            if name == "two":
                with together(f"{name}-{round_}"):
                    took = timed(whole, Worker(rank, 2, cpu, DistributedDataParallel), seed)
            elif rank == 0 or name == "apart":
                took = timed(whole if name == "one" else whole // 2, Worker(), seed + (1000 if name == "apart" else 0))
            with together(f"{name}-{round_}-ends"):
                pass
            if rank == 0 and round_ >= 0:
                if name == "apart":
                    rates = took["rate"], float((folder / "rate-of-the-second").read_text())
                    took |= {"rate": statistics.mean(rates), "slower": min(rates)}
                found.setdefault(name, []).append(took)
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


def fit_in_turns(works: dict[int, Any], given: argparse.Namespace, folder: Path) -> None:
    from ray.train import ScalingConfig
    from ray.train.torch import TorchTrainer

    from pipelines.train.no_process_group import NoProcessGroup
    from pipelines.train.trainer import group_trainer

    TorchTrainer(
        train_loop_per_worker=take_turns,
        train_loop_config={
            "works": works,
            "steps": given.steps,
            "rounds": given.rounds,
            "batch": given.batch,
            "folder": str(folder),
        },
        torch_config=NoProcessGroup(),
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=group_trainer(works[given.batch], "two").run_config,
    ).fit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help=f"a round's, of each thing; a multiple of {SKIPPED}")
    parser.add_argument("--batch", type=int, default=128, help="rows of the global batch")
    parser.add_argument("--rows", type=int, default=10240)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a setting of the case")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import list_runs
    from pipelines.ingest.ingest import ingest
    from pipelines.train.assignment import WorkerAssignment

    machine = of_the_machine()
    with tempfile.TemporaryDirectory() as scratch:
        folder, works = Path(scratch), {}
        with ray_session():  # a Ray of its own, as the commands have it: Ray Data's actors end with it
            for batch in (given.batch, given.batch // 2):
                overrides = [f"training.steps={given.steps}", f"training.batch_size={batch}"]
                overrides += [f"logging.every={SKIPPED}", *given.overrides]
                case = made_case(folder, given.rows, overrides=overrides)
                data_sets = ingest(case)
                works[batch] = WorkerAssignment(
                    case, tuple(list_runs(case)), data_sets, experiment_folder(case), "benchmark"
                )
        with ray_session():
            fit_in_turns(works, given, folder)
        found = json.loads((folder / "found.json").read_text())

    def ratio(over: str, under: str) -> float:
        ratios = [rows_a_second(over, r) / rows_a_second(under, r) for r in range(given.rounds)]
        return round(statistics.median(ratios), 3)

    def rows_a_second(name: str, round_: int) -> float:
        if name == "slower":  # of two that have half of the batch each; together they would be at twice its rate
            return found["apart"][round_]["slower"] * given.batch
        rows = given.batch // 2 if name == "half" else given.batch
        return found[name][round_]["rate"] * rows

    answer = {
        "two / one": ratio("two", "one"),
        "half / one": ratio("half", "one"),
        "apart / half": ratio("apart", "half"),
        "slower / apart": ratio("slower", "apart"),
        "two / slower": ratio("two", "slower"),
        "waited for data, two": round(statistics.median(x["waited"] for x in found["two"]), 4),
        "two processes over one": machine,
        "load": os.getloadavg(),
        "rounds": found,
    }
    if given.json:
        print(json.dumps(answer))
        return
    each = [round(rows_a_second("two", r) / rows_a_second("one", r), 2) for r in range(given.rounds)]
    print(f"two workers over one: {answer['two / one']} (2 would be perfect; by round: {each})")
    print(f"  batches half as large: {answer['half / one']} of the rows a second")
    print(f"  two processes at once: {answer['apart / half']} times one's")
    print(f"    ({machine['matrices']} where both multiply small matrices, {machine['memory']} where both copy memory)")
    print(f"  the slower of the two: {answer['slower / apart']} of their mean")
    print(f"  sums over workers, and waiting in single steps: {answer['two / slower']} of what the slower does apart")
    print(f"  waiting for data: {100 * answer['waited for data, two']:.1f} % of the time")
    print(f"load {answer['load'][0]:.1f}")


if __name__ == "__main__":
    main()
