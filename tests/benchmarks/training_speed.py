"""How fast training is under Ray Train, from blocks, beside the same step on tensors that are already in memory.

    python tests/benchmarks/training_speed.py --rounds 5 --peer

CIFAR-10-sized images, two tasks in two datasets, the small CNN, a batch of 128, one worker on one thread. Rounds of
the pipeline and of the loop in memory alternate inside the one worker process, so both have its priority, its
allocator's settings and its neighbours. In memory there are two loops: the same step, with the estimate of trust that
every run with related pairs makes, and that step without it. ``--peer`` adds a plain Ray Data loop over Parquet files
of the same rows, `read_parquet(...).iter_torch_batches(...)`, with the step without trust.

Ratios of rates are printed by wall clock and by processor time of the process, medians over rounds.
"""

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

SKIPPED = 10  # steps at a round's beginning that are not timed


def compare(config: dict[str, Any]) -> None:
    """Run in the worker: alternate rounds, and write steps a second by wall clock and by processor, by loop."""
    import time
    from itertools import cycle, islice

    import ray.train
    import torch
    from host_batch import gather_batch

    from mtlcore import HeadInputs, seeded_init
    from pipelines.batches.batch import MixedBatch, batch_sampler
    from pipelines.case.build import build_loss, build_network, build_trust, tasks_of
    from pipelines.optimization.optimizer import build_optimizer
    from pipelines.train.data import open_training_data
    from pipelines.train.loop import train_run
    from pipelines.train.malloc import disable_malloc_trim
    from pipelines.train.prepare import prepare
    from pipelines.train.worker import ray_worker

    torch.set_num_threads(1)
    disable_malloc_trim()  # as the function does that Ray calls
    work, steps, skipped, worker = config["work"], config["steps"], config["skipped"], ray_worker()
    case, run = work.case, work.runs[0]
    channels_last = case.training.channels_last
    data = open_training_data(case, work.data_sets)
    tasks = list(tasks_of(case).values())
    plan = batch_sampler(case, {name: len(reader) for name, reader in data.readers.items()}, 0, run.tasks)

    def laid_out(batch: MixedBatch) -> MixedBatch:
        return replace(batch, x=batch.x.contiguous(memory_format=torch.channels_last)) if channels_last else batch

    batches = [laid_out(gather_batch(data.readers, plan.rows(step), tasks, case.input)) for step in range(16)]
    joint_loss = build_loss(case, list(run.tasks), case.arms["joint"].matching, data.priors)

    class Clock:
        def __init__(self) -> None:
            self.marks: list[tuple[float, float]] = []

        def tick(self) -> None:
            self.marks.append((time.perf_counter(), time.process_time()))

        def rates(self) -> list[float]:
            (wall, cpu), (wall_end, cpu_end) = self.marks[0], self.marks[-1]
            return [(steps - skipped) / (wall_end - wall), (steps - skipped) / (cpu_end - cpu)]

    def pipeline(round_: int) -> list[float]:
        clock = Clock()
        told = lambda at: clock.tick() if at.step in (skipped, steps) else None  # noqa: E731
        train_run(replace(work, on_progress=told), replace(run, seed=1000 + round_), data, worker)
        return clock.rates()

    def loop(feed: Any, with_trust: bool) -> list[float]:
        with seeded_init(0):
            built = build_network(case, list(run.tasks), 0)
            network, _ = prepare(built, case.input.shape, case.training, worker)
        optimizer = build_optimizer(case.training.optimizer, network)
        trust = build_trust(network, joint_loss) if with_trust else None
        clock = Clock()
        with HeadInputs(network.heads) as inputs:
            for step, (x, labels) in enumerate(islice(feed, steps)):
                if step == skipped:
                    clock.tick()
                value = joint_loss(network(x), labels)
                optimizer.zero_grad(set_to_none=True)
                value.loss.backward()
                optimizer.step()
                if trust:
                    trust.observe(inputs.last, labels)
            clock.tick()
        return clock.rates()

    def in_memory() -> Any:
        return cycle((batch.x, batch.labels) for batch in batches)

    def from_ray_data() -> Any:
        while True:
            for batch in ray.train.get_dataset_shard("train").iter_torch_batches(batch_size=128, drop_last=True):
                x = batch.pop("x").float().div_(255).sub_(case.input.mean).div_(case.input.std)
                yield x, batch

    rates: dict[str, list[list[float]]] = {}
    for round_ in range(-1, config["rounds"]):  # the first warms up
        found = {"pipeline": pipeline(round_), "same step in memory": loop(in_memory(), True)}
        found["without trust in memory"] = loop(in_memory(), False)
        if config["peer"]:
            found["Ray Data"] = loop(from_ray_data(), False)
        if round_ >= 0:
            for name, rate in found.items():
                rates.setdefault(name, []).append(rate)
    waited = [json.loads(path.read_text()) for path in Path(work.experiment).glob("runs/joint/shared/seed-1*/run.json")]
    share = statistics.median(record["waited_for_data_s"] / record["seconds"] for record in waited)
    Path(config["out"]).write_text(json.dumps({"rates": rates, "waited": share, "nice": os.nice(0)}))


def parquet_of(case: Any, data_sets: Any, folder: Path) -> str:
    """Write the training rows of a case as the Parquet files that a plain Ray Data loop reads."""
    import numpy as np
    import ray.data

    from pipelines.batches.batch import open_readers
    from pipelines.case.build import tasks_of

    parts: dict[str, list[Any]] = {}
    for reader in open_readers(case, data_sets, "train").values():
        batch = reader.gather(np.arange(len(reader)))
        for name, values in {"x": batch.inputs, **{task: batch.labels[task] for task in tasks_of(case)}}.items():
            parts.setdefault(name, []).append(values)
    order = np.random.default_rng(0).permutation(sum(map(len, parts["x"])))
    columns = {name: np.concatenate(values)[order] for name, values in parts.items()}
    blocks = [{name: values[i::8] for name, values in columns.items()} for i in range(8)]
    import pyarrow as pa
    from ray.data.extensions import ArrowTensorArray

    tables = [
        pa.table({n: ArrowTensorArray.from_numpy(v) if v.ndim > 1 else pa.array(v) for n, v in block.items()})
        for block in blocks
    ]
    ray.data.from_arrow(tables).write_parquet(str(folder))
    return str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="a round's, of each loop")
    parser.add_argument("--rows", type=int, default=10240)
    parser.add_argument("--peer", action="store_true", help="measure a plain Ray Data loop too")
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="a setting of the case")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from made_case import made_case

    from pipelines.base.ray_session import ray_session
    from pipelines.experiment.layout import experiment_folder
    from pipelines.experiment.run import list_runs
    from pipelines.ingest.ingest import ingest
    from pipelines.train.assignment import WorkerAssignment
    from pipelines.train.trainer import group_trainer

    with tempfile.TemporaryDirectory() as scratch, ray_session():
        import ray.data
        from ray.train.torch import TorchTrainer

        folder = Path(scratch)
        overrides = [f"training.steps={given.steps}", *given.overrides]
        case = made_case(folder, given.rows, overrides=overrides)
        data_sets = ingest(case)
        work = WorkerAssignment(case, tuple(list_runs(case)), data_sets, experiment_folder(case), "benchmark")
        shipped = group_trainer(work, "speed")
        config = {"work": work, "steps": given.steps, "rounds": given.rounds, "peer": given.peer, "skipped": SKIPPED}
        measured = {
            "train_loop_per_worker": compare,
            "train_loop_config": config | {"out": str(folder / "rates.json")},
            "torch_config": shipped.backend_config,
            "scaling_config": shipped.scaling_config,
            "run_config": shipped.run_config,
        }
        if given.peer:
            parquet = parquet_of(case, data_sets, folder / "parquet")
            TorchTrainer(**measured, datasets={"train": ray.data.read_parquet(parquet)}).fit()
        else:
            TorchTrainer(**measured).fit()
        found = json.loads((folder / "rates.json").read_text())
    rates = found["rates"]
    answer: dict[str, Any] = {"load": os.getloadavg(), "worker_nice": found["nice"], "waited_for_data": found["waited"]}
    for i, clock in enumerate(("wall", "processor")):
        median = {name: statistics.median(rate[i] for rate in of) for name, of in rates.items()}
        answer[clock] = {
            f"{a} / {b}": round(statistics.median(x[i] / y[i] for x, y in zip(rates[a], rates[b], strict=True)), 3)
            for a, b in (
                ("pipeline", "same step in memory"),
                ("pipeline", "without trust in memory"),
                ("Ray Data", "without trust in memory"),
            )
            if a in rates
        } | {"steps a second": {name: round(rate, 2) for name, rate in median.items()}}
    if given.json:
        print(json.dumps(answer))
        return
    for clock in ("wall", "processor"):
        for name, ratio in answer[clock].items():
            print(f"{clock}: {name}: {ratio}")
    print(f"waiting for data: {100 * answer['waited_for_data']:.1f} % of the pipeline's time")
    print(f"load {answer['load'][0]:.1f}, priority of the worker: nice {answer['worker_nice']}")


if __name__ == "__main__":
    main()
