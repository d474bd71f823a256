"""The story of a run: one network, trained step by step, from wherever it stands to its end."""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import safetensors.torch
import torch.distributed as dist
from torch import nn

from mtlcore import HeadInputs, JointLoss, RelatednessProbe, RelatednessTrust
from pipelines.batches import class_priors, mixing_plan, training_batch
from pipelines.blocks import BlockReader
from pipelines.counted_edges import with_counted_tables
from pipelines.method import build_balancing, build_loss, build_network, build_trust, tasks_of
from pipelines.runs import HISTORY, VALIDATIONS, WEIGHTS, Run, made_from, write_record
from pipelines.storage import delete, join, write_whole
from pipelines.training.checkpoint import Event
from pipelines.training.checkpoint_folder import (
    CHECKPOINTS,
    clear_unfinished,
    delete_checkpoints,
    newest_checkpoint,
    read_checkpoint,
)
from pipelines.training.checkpoint_writer import CheckpointWriter
from pipelines.training.failure import forget_failure
from pipelines.training.monitor import Monitor
from pipelines.training.optimizer import build_optimizer, set_learning_rate
from pipelines.training.pace import Pace
from pipelines.training.schedule import learning_rate
from pipelines.training.training_state import TrainingState
from pipelines.training.validation import Validation
from pipelines.training.validation_history import chosen
from pipelines.training.work import Work
from pipelines.training.worker import Worker
from pipelines.visible_relatedness import measured_steps, write_measured


def train_run(work: Work, run: Run, readers: Mapping[str, BlockReader], worker: Worker) -> None:
    """Train a run from its newest checkpoint, or from the beginning, to its end.

    Every worker takes its slice of the step's mixed batch, makes one forward pass over it, and computes its share
    of a loss that is normalised over the global batch. What a step does depends on the state alone, so a run that is
    killed and goes on ends as it would have ended.

    Raises:
        LossNotFiniteError: the loss became infinite or NaN.
        CheckpointNotWrittenError: checkpoints cannot be written.
        StorageUnavailableError: object storage does not answer.
    """
    case, training = work.case, work.case.training
    tasks = [tasks_of(case)[name] for name in run.tasks]
    plan = mixing_plan(case, {name: len(reader) for name, reader in readers.items()}, run.seed, run.tasks)
    state, joint_loss = _beginning(work, run, readers, worker)
    _go_on(state, work, run, worker)
    network = worker.wrap(state.network)
    matching, trust = case.arms[run.arm].matching, state.trust
    probe, measured_at = RelatednessProbe(network, tasks), measured_steps(case, run)
    probe.measured = state.measured
    made = made_from(work.data_sets)
    checkpoints = join(work.folder(run), CHECKPOINTS)
    pace = Pace(training.checkpoints, worker)
    validation = Validation(work, run, worker)

    with ExitStack() as open_until_the_end:
        first = worker.rank == 0
        monitor = (
            open_until_the_end.enter_context(Monitor(work, run, state, sum(plan.per_step.values()))) if first else None
        )
        writer = (
            open_until_the_end.enter_context(CheckpointWriter(checkpoints, training.checkpoints.keep))
            if first
            else None
        )
        head_inputs = open_until_the_end.enter_context(HeadInputs(state.network.heads)) if trust else None
        for step in range(state.step, training.steps):
            begun = time.perf_counter()
            worker.seed_draws(run.seed, step)
            set_learning_rate(state.optimizer, learning_rate(training, step))
            batch = training_batch(case, readers, plan, step, worker.rank, worker.world_size, tasks).to(worker.device)
            x, labels = batch.x, batch.labels
            state.waited_for_data_s += time.perf_counter() - begun

            rows_trusted = trust.by_edge() if trust and matching.trust == "estimated" else None
            with probe.reading(step in measured_at):
                logits = network(x)
            value = joint_loss(logits, labels, rows_trusted, batch.mixed)
            probe.measure(step, logits, labels)
            state.optimizer.zero_grad(set_to_none=True)
            state.balancer.backward(value)
            state.optimizer.step()
            if trust and head_inputs:
                trust.observe(head_inputs.last, labels)
            state.history.add(value.loss / worker.world_size, value.parts)
            state.step = step + 1
            state.seconds += time.perf_counter() - begun

            last = state.step == training.steps
            validated = validation.is_due(state.step)
            told = validated or state.step % case.logging.every == 0 or last
            if told or pace.is_checkpoint(state.step):
                losses = state.history.gather()
                if validated:
                    last = validation.look(state) or last
                if told and monitor:
                    monitor.tell(losses, ended=last)
                why = None if last else pace.look_up(state.step)
                if why and writer and monitor:
                    monitor.keep()
                    _keep_place(state, run, made, writer, before_preemption=why == "preemption")
            if last:
                break
    if worker.rank == 0:
        _write(work, run, state, worker)
        delete_checkpoints(checkpoints)
        forget_failure(work, run)
    if worker.world_size > 1:
        dist.barrier()  # no worker starts what another has not seen the end of


def _beginning(
    work: Work, run: Run, readers: Mapping[str, BlockReader], worker: Worker
) -> tuple[TrainingState, JointLoss]:
    """Return a run's state before its first step, and its objective."""
    case = work.case
    network = build_network(case, list(run.tasks), run.seed)
    if worker.device.type == "cuda" and worker.world_size > 1:  # a backbone may bring BatchNorm
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
    network.to(worker.device)
    matching = case.arms[run.arm].matching
    related = with_counted_tables(case, readers)
    joint_loss = build_loss(related, list(run.tasks), matching, class_priors(case, readers))
    balancer = build_balancing(case, run.arm, joint_loss, network.shared_parameters(), network.parameters(), run.seed)
    trust = build_trust(network, joint_loss)
    if trust:
        trust.to(worker.device)
    return TrainingState(network, build_optimizer(case.training.optimizer, network), balancer, trust), joint_loss


def _go_on(state: TrainingState, work: Work, run: Run, worker: Worker) -> None:
    """Restore the newest checkpoint that is good, the same on all workers; do nothing where there is none."""
    folder = join(work.folder(run), CHECKPOINTS)
    passed_over: list[str] = []
    name = None
    if worker.rank == 0:
        clear_unfinished(folder)
        name = newest_checkpoint(folder, work.can_go_on_from, passed_over.append)
    name = worker.agree_on(name)
    if name is not None:
        state.restore(read_checkpoint(folder, name))
        state.events.append(
            Event(step=state.step, what=f"went on with {worker.world_size} worker{'s' * (worker.world_size > 1)}")
        )
    state.events += [Event(step=state.step, what=f"passed over: {problem}") for problem in passed_over]


def _keep_place(
    state: TrainingState, run: Run, made: dict[str, Any], writer: CheckpointWriter, before_preemption: bool
) -> None:
    """Have the state written; before a machine is taken away, wait until it is."""
    if before_preemption:
        state.events.append(Event(step=state.step, what="a node is about to be taken away"))
    writer.put(state.checkpoint(str(run), made))
    if before_preemption:
        writer.flush()


def _trust_by_row(trust: RelatednessTrust | None) -> dict[str, dict[str, float]]:
    """Return the trust by edge and row."""
    if trust is None:
        return {}
    found = trust.by_edge()
    return {R.key: dict(zip(R.source.outputs, found[R.key].tolist(), strict=True)) for R in trust.relatednesses}


def _write(work: Work, run: Run, state: TrainingState, worker: Worker) -> None:
    """Write what a run leaves, run.json last."""
    folder = work.folder(run)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in state.network.state_dict().items()}
    write_whole(join(folder, WEIGHTS), safetensors.torch.save(state.best or weights))
    write_whole(join(folder, HISTORY), state.history.parquet())
    delete(join(folder, VALIDATIONS))
    if state.validation.rows:
        write_whole(join(folder, VALIDATIONS), state.validation.parquet())
    write_measured(folder, state.measured)
    outcome = {
        "steps": state.step,
        "best": chosen(state.validation, work.case, run),
        "seconds": state.seconds,
        "waited_for_data_s": state.waited_for_data_s,
        "validation_s": state.validation_s,
        "workers": worker.world_size,
        "trust": _trust_by_row(state.trust),
        "events": [event.model_dump() for event in state.events],
    }
    write_record(folder, run, work.data_sets, outcome)
