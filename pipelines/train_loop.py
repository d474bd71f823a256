"""What a worker does: train its part of each run, step by step."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mtlcore import HeadInputs, PairMeasured, RelatednessProbe, RelatednessTrust
from pipelines.atomic import write_atomically
from pipelines.batches import class_priors, mixing_plan, open_readers, training_batch
from pipelines.blocks import BlockReader
from pipelines.case import Case, Optimizer
from pipelines.counted_edges import with_counted_tables
from pipelines.manifest import Manifest
from pipelines.method import build_balancing, build_loss, build_network, build_trust, tasks_of
from pipelines.metrics_log import MetricsLog
from pipelines.runs import HISTORY, WEIGHTS, Run, is_done, write_record
from pipelines.visible_relatedness import measured_steps, write_measured


@dataclass(frozen=True)
class Work:
    """What a group of workers is given: runs of one case, one after the other.

    Attributes:
        told: called by the first worker with a run, the steps done and the loss, now and then.
    """

    case: Case
    runs: tuple[Run, ...]
    data_sets: Mapping[str, tuple[str, Manifest]]
    experiment: Path
    told: Callable[[str, int, float], None] | None = None


class LossNotFiniteError(RuntimeError):
    """The loss became infinite or NaN: the run cannot go on."""


def train_runs(config: dict[str, Any]) -> None:
    """Train a group's runs: the function that Ray Train calls on every worker."""
    import ray.train

    work: Work = config["work"]
    torch.set_num_threads(work.case.training.threads_per_worker)
    readers = open_readers(work.case, work.data_sets, "train")
    for run in work.runs:
        if not is_done(run, work.experiment, work.data_sets):
            train_run(work, run, readers)
        ray.train.report({"run": str(run)})


def train_run(work: Work, run: Run, readers: Mapping[str, BlockReader]) -> None:
    """Train one network: the story of a run.

    Every worker takes its slice of the step's mixed batch, makes one forward pass over it, and computes its share
    of a loss that is normalised over the global batch.
    """
    from ray.train.torch import get_device, prepare_model

    case, training = work.case, work.case.training
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = get_device()
    tasks = [tasks_of(case)[name] for name in run.tasks]
    plan = mixing_plan(case, {name: len(reader) for name, reader in readers.items()}, run.seed, run.tasks)
    bare = build_network(case, list(run.tasks), run.seed)
    if device.type == "cuda" and world_size > 1:  # a backbone may bring BatchNorm
        bare = nn.SyncBatchNorm.convert_sync_batchnorm(bare)  # type: ignore[no-untyped-call]
    torch.manual_seed(run.seed * world_size + rank)  # what a network draws as it trains: dropout
    network = prepare_model(bare)
    matching = case.arms[run.arm].matching
    related = with_counted_tables(case, readers)
    joint_loss = build_loss(related, list(run.tasks), matching, class_priors(case, readers))
    balancer = build_balancing(case, run.arm, joint_loss, bare.shared_parameters(), bare.parameters(), run.seed)
    trust = build_trust(bare, joint_loss)
    if trust:
        trust.to(device)
    optimizer = build_optimizer(training.optimizer, network)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _learning_rate_factor(training.schedule, step, training.steps)
    )

    probe, measured_at = RelatednessProbe(network, tasks), measured_steps(case, run)
    history: list[dict[str, float]] = []
    unreduced: list[Tensor] = []
    waited, begun = 0.0, time.perf_counter()
    with ExitStack() as open_until_the_end:
        log = open_until_the_end.enter_context(MetricsLog(case, run, work.experiment, active=rank == 0))
        head_inputs = open_until_the_end.enter_context(HeadInputs(bare.heads)) if trust else None
        for step in range(training.steps):
            asked = time.perf_counter()
            batch = training_batch(case, readers, plan, step, rank, world_size, tasks).to(device)
            x, labels = batch.x, batch.labels
            waited += time.perf_counter() - asked

            rows_trusted = trust.by_edge() if trust and matching.trust == "estimated" else None
            with probe.reading(step in measured_at):
                logits = network(x)
            value = joint_loss(logits, labels, rows_trusted, batch.mixed)
            probe.measure(step, logits, labels)
            optimizer.zero_grad(set_to_none=True)
            balancer.backward(value)
            optimizer.step()
            scheduler.step()
            if trust and head_inputs:
                trust.observe(head_inputs.last, labels)

            unreduced.append(torch.stack([value.loss.detach() / world_size, *value.parts.values()]))
            if len(unreduced) == case.logging.every or step == training.steps - 1:
                history += _summed_over_workers(unreduced, ["loss", *value.parts])
                unreduced.clear()
                _check_finite(history[-1], run, step)
                log.write(step, history[-1])
                if work.told and rank == 0:
                    work.told(str(run), step + 1, history[-1]["loss"])
    if rank == 0:
        seconds = time.perf_counter() - begun
        _write(
            work,
            run,
            network,
            history,
            probe.measured,
            {"seconds": seconds, "waited_for_data_s": waited, "workers": world_size, "trust": _trust_by_row(trust)},
        )
    if world_size > 1:
        dist.barrier()  # no worker starts what another has not seen the end of


def build_optimizer(settings: Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser that the case file names."""
    if settings.name == "adamw":
        return torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    return torch.optim.SGD(
        network.parameters(), lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
    )


def _learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))


def _summed_over_workers(parts: list[Tensor], names: list[str]) -> list[dict[str, float]]:
    values = torch.stack(parts)
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(values)
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def _check_finite(last: dict[str, float], run: Run, step: int) -> None:
    if not math.isfinite(last["loss"]):
        parts = ", ".join(f"{name} {value:g}" for name, value in last.items())
        raise LossNotFiniteError(f"{run}, step {step}: the loss is not finite ({parts}); a lower lr may help")


def _trust_by_row(trust: RelatednessTrust | None) -> dict[str, dict[str, float]]:
    """Return the trust by edge and row."""
    if trust is None:
        return {}
    found = trust.by_edge()
    return {R.key: dict(zip(R.source.outputs, found[R.key].tolist(), strict=True)) for R in trust.relatednesses}


def _write(
    work: Work,
    run: Run,
    network: nn.Module,
    history: list[dict[str, float]],
    measured: list[PairMeasured],
    outcome: dict[str, Any],
) -> None:
    folder = run.folder(work.experiment)
    bare = network.module if isinstance(network, nn.parallel.DistributedDataParallel) else network
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in bare.state_dict().items()}
    table = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(history), table)
    write_atomically(folder / WEIGHTS, safetensors.torch.save(weights))
    write_atomically(folder / HISTORY, table.getvalue().to_pybytes())
    write_measured(folder, measured)
    write_record(folder, run, work.data_sets, {"steps": work.case.training.steps, **outcome})
