"""The training loop of one run, from its newest checkpoint or the beginning to its end."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from typing import Any

import safetensors.torch
import torch.distributed as dist
from torch import Tensor

from mtlcore import HeadInputs, JointLoss, MovingAverage, RelatednessProbe
from pipelines.base.progress import note
from pipelines.base.storage import StorageUnavailableError, delete, join, write_whole
from pipelines.batches.batch import batch_sampler, finish_batch, stored_batch
from pipelines.batches.shuffled_labels import shuffled
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import (
    build_balancing,
    build_loss,
    build_network,
    build_shifted_priors,
    build_trust,
    build_unlabelled,
    tasks_of,
)
from pipelines.case.start import start_of
from pipelines.experiment.identity import identity
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import HISTORY, VALIDATIONS, WEIGHTS, Run, write_record
from pipelines.optimization.optimizer import build_optimizer, set_learning_rate
from pipelines.train.assignment import WorkerAssignment
from pipelines.train.checkpoints.file import Checkpoint, Event
from pipelines.train.checkpoints.schedule import CheckpointSchedule
from pipelines.train.checkpoints.store import (
    CHECKPOINTS,
    FINAL,
    checkpoint_names,
    clear_unfinished,
    delete_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from pipelines.train.checkpoints.writer import CheckpointWriter
from pipelines.train.data import TrainingData
from pipelines.train.failure import forget_failure
from pipelines.train.logs.gauges import RunGauges
from pipelines.train.logs.monitor import Monitor
from pipelines.train.logs.relatedness_log import measured_steps, write_measured
from pipelines.train.logs.validation_history import chosen
from pipelines.train.loss_by_step import LossByStep
from pipelines.train.lr_schedule import learning_rate
from pipelines.train.prefetch import DeviceFeed, Loaded, loader_threads, prefetch
from pipelines.train.prepare import place_beside, prepare
from pipelines.train.sharding import is_sharded
from pipelines.train.state import TrainingState
from pipelines.train.step import Step
from pipelines.train.step_graphs import GpuRecorder
from pipelines.train.trust_record import trust_record
from pipelines.train.validation import Validation
from pipelines.train.worker import Worker


class RunStoppedError(Exception):
    """The command is to end; the run's state is kept, and it goes on from there another time."""


def train_run(work: WorkerAssignment, run: Run, data: TrainingData, worker: Worker) -> None:
    """Train a run from its newest checkpoint, or from the beginning, to its end.

    Every worker takes its shard of the step's mixed batch, makes one forward pass over it, and computes its share
    of a loss that is normalised over the global batch. What a step does depends on the state alone, so a run that is
    killed and resumed ends as it would have ended. Where the assignment says to pause, it returns before the end.

    Raises:
        LossNotFiniteError: the loss became infinite or NaN.
        CheckpointNotWrittenError: checkpoints cannot be written.
        StorageUnavailableError: object storage does not answer.
        RunStoppedError: the command is to end; raised on all workers, when the checkpoint is written.
    """
    case = work.case.for_arm(run.arm)
    training = case.training
    readers = shuffled(data.readers, case.arms[run.arm].shuffle, run.seed)
    tasks = [tasks_of(case)[name] for name in run.tasks]
    sizes = {name: len(reader) for name, reader in data.readers.items()}
    plan = batch_sampler(case, sizes, run.seed, run.tasks, case.arms[run.arm].batch)
    state, joint_loss, channels_last = build_state(work, run, data, worker)
    # Before the network is wrapped: a checkpoint names its parameters as they are called without a wrapper.
    restore_latest(state, work, run, worker)
    sharded = is_sharded(state.network)
    # Wrapping would sum gradients a second time: a sharded network does that itself.
    network = state.network if sharded else worker.wrap(state.network)
    # A probe compares gradients of whole parameters, of which a sharded worker has a part.
    probe, measured_at = RelatednessProbe(network, tasks), frozenset() if sharded else measured_steps(case, run)
    probe.measured = state.measured
    run_provenance = provenance(work.data_sets)
    checkpoints = join(work.folder(run), CHECKPOINTS)
    # All workers ask when a checkpoint is due, though the first alone writes: what goes into it is gathered from all.
    pace = CheckpointSchedule(training.checkpoints, worker)
    asked = partial(work.on_validation, run) if work.on_validation else None
    validation = Validation(work.case, run, data.validation, worker, asked)

    with ExitStack() as open_until_the_end:
        first = worker.rank == 0
        enter = open_until_the_end.enter_context
        rows = sum(plan.per_step.values())
        monitor = enter(Monitor(work, run, state, rows, worker.world_size)) if first else None
        writer = enter(CheckpointWriter(checkpoints, training.checkpoints.keep)) if first else None
        gauges = RunGauges(run, worker, state, rows, training.steps)
        head_inputs = enter(HeadInputs(state.network.heads)) if state.trust else None
        unlabelled = case.unlabelled_of(run.arm)
        strong = unlabelled.strong if unlabelled.has_losses else None
        matching = case.arms[run.arm].matching
        by_step = LossByStep(case, matching, joint_loss)
        a_step = Step(state, network, joint_loss, training, matching, unlabelled, probe, head_inputs, by_step)
        if training.compile == "step":
            by_step.compile_terms()
            if state.trust:
                state.trust.compile_evidence()
            if worker.device.type == "cuda":
                a_step.replay(GpuRecorder(worker.device))

        steps = range(state.step, training.steps)
        resident = data.resident_on(worker.device) if training.data == "device" else None
        feed = DeviceFeed(
            partial(finish_batch, case=case, resident=resident, strong=strong), worker.device, channels_last
        )

        def load(step: int) -> Loaded:
            stored = stored_batch(
                case,
                readers,
                plan,
                step,
                worker.rank,
                worker.world_size,
                tasks,
                pinned=worker.device.type == "cuda",
                resident=resident is not None,
                strong=strong,
            )
            return feed.load(stored)

        # What is not taken when the run stops early, or fails, must not go on reading blocks.
        threads = loader_threads(training, worker)
        batches = enter(closing(prefetch(load, steps, ahead=threads, threads=threads)))
        for step in steps:
            begun = time.perf_counter()
            batch = feed.take(next(batches))
            state.waited_for_data_s += time.perf_counter() - begun
            worker.seed_draws(run.seed, step)
            set_learning_rate(state.optimizer, learning_rate(training, step))
            loss, parts = a_step.take(batch, measured=step in measured_at)
            # Workers average gradients, so each one's loss is scaled up by their number; parts are shares as they are.
            state.history.add(loss / worker.world_size, parts)
            state.step = step + 1
            state.seconds += time.perf_counter() - begun

            last = state.step == training.steps
            validated = validation.is_due(state.step)
            # Losses stay on the device until somebody asks: reading them makes the host wait for the step.
            pauses = work.pause is not None and work.pause.step == state.step and not last
            logged = validated or state.step % case.logging.every == 0 or last or pauses
            if logged or pace.is_checkpoint(state.step):
                losses = state.history.gather()
                if validated:
                    last = validation.run_if_due(state) or last
                if logged:
                    gauges.tell(losses, learning_rate(training, step))
                if logged and monitor:
                    monitor.tell(losses, ended=last)
                # The last step leaves the run's weights themselves, which no checkpoint needs to repeat; where a run
                # pauses, its state is written by itself.
                pauses = pauses and not last
                why = None if last or pauses else pace.due(state.step)
                if why:
                    gauges.keep()
                if why and monitor:
                    monitor.keep()
                if why and (first or sharded):
                    save_checkpoint(state, run, run_provenance, writer, why)
                if why == "stop":
                    raise RunStoppedError
                if pauses:
                    gauges.keep()
                    if monitor:
                        monitor.keep()
                    write_paused(state, run, run_provenance, work, worker)
                    return
            if last:
                break
    weights = state.weights() if sharded or (first and not state.best) else {}
    keeps = training.checkpoints.final and (first or sharded)
    final = state.checkpoint(str(run), run_provenance) if keeps else None
    if first:
        if final:
            _write_final(work.folder(run), final)
        _write(work, run, state, worker, state.best or weights)
        # Not before run.json is there: until then a killed run is resumed from them.
        delete_checkpoints(checkpoints)
        forget_failure(work, run)
    if worker.world_size > 1:
        dist.barrier()  # no worker starts what another has not seen the end of


def build_state(
    work: WorkerAssignment, run: Run, data: TrainingData, worker: Worker
) -> tuple[TrainingState, JointLoss, bool]:
    """Return a run's state before its first step, its objective, and whether inputs come with channels last."""
    case = work.case.for_arm(run.arm)
    built = build_network(case, list(run.tasks), run.seed)
    start = start_of(case.network, run.tasks)
    unlabelled = case.unlabelled_of(run.arm)
    # Before the network is compiled: a copy of what is would compute with the original's parameters.
    average = MovingAverage(built, unlabelled.decay) if unlabelled.has_average else None
    network, channels_last = prepare(built, case.input.shape, case.training, worker)
    if average:
        place_beside(average.module, worker.device, channels_last)
    matching = case.arms[run.arm].matching
    joint_loss = build_loss(data.related.for_arm(run.arm), list(run.tasks), matching, data.priors)
    balancer = build_balancing(case, run.arm, joint_loss, network.shared_parameters(), network.parameters(), run.seed)
    trust = build_trust(network, joint_loss, _annotated(work.data_sets, run.tasks))
    if trust:
        trust.to(worker.device)
    in_graphs = case.training.compile == "step" and worker.device.type == "cuda"
    state = TrainingState(
        network,
        build_optimizer(case.training.optimizer, network, in_graphs=in_graphs, scales=start.scales(network)),
        balancer,
        trust,
        build_unlabelled(unlabelled, joint_loss, data.priors),
        build_shifted_priors(matching, joint_loss, data.priors),
        average,
        evaluates_average=unlabelled.evaluated == "average",
        start=start,
        events=[Event(step=0, what=start.words)] if start.words else [],
    )
    return state, joint_loss, channels_last


def restore_latest(state: TrainingState, work: WorkerAssignment, run: Run, worker: Worker) -> None:
    """Restore the newest checkpoint that is good, the same on all workers; do nothing where there is none."""
    folder = join(work.folder(run), CHECKPOINTS)
    passed_over: list[str] = []
    name = None
    if worker.rank == 0:
        clear_unfinished(folder)
        # One worker chooses: to another the newest file may look different, where storage lists late.
        name = newest_checkpoint(folder, work.can_resume_from, passed_over.append)
    name = worker.agree_on(name)
    if name is not None:
        state.restore(read_checkpoint(folder, name))
        state.events.append(
            Event(step=state.step, what=f"resumed with {worker.world_size} worker{'s' * (worker.world_size > 1)}")
        )
    state.events += [Event(step=state.step, what=f"passed over: {problem}") for problem in passed_over]


def save_checkpoint(
    state: TrainingState,
    run: Run,
    run_provenance: dict[str, Any],
    writer: CheckpointWriter | None,
    why: str,
) -> None:
    """Have the state written; before a machine is taken away, or the command ends, wait until it is."""
    if why == "preemption":
        state.events.append(Event(step=state.step, what="a node is about to be taken away"))
    checkpoint = state.checkpoint(str(run), run_provenance)  # where the network is sharded, all workers put it together
    if writer:
        writer.put(checkpoint)
        if why != "time":
            writer.flush()


def write_paused(
    state: TrainingState, run: Run, run_provenance: dict[str, Any], work: WorkerAssignment, worker: Worker
) -> None:
    """Write the state from which a run goes on that pauses; all workers must call it, and return when it is there."""
    assert work.pause
    if worker.rank == 0 or is_sharded(state.network):
        checkpoint = state.checkpoint(str(run), run_provenance)
        if worker.rank == 0:
            write_checkpoint(work.pause.folder, checkpoint, work.pause.keep)
    if worker.world_size > 1:
        dist.barrier()


def _annotated(data_sets: DataSets, tasks: Sequence[str]) -> dict[str, int]:
    """Return by task how many training rows are annotated for it."""
    of_train = data_sets.of_split("train").manifests.values()
    return {
        task: sum(manifest.labels[task].annotated for manifest in of_train if task in manifest.labels) for task in tasks
    }


def _write(
    work: WorkerAssignment, run: Run, state: TrainingState, worker: Worker, weights: Mapping[str, Tensor]
) -> None:
    """Write what a run leaves, run.json last."""
    folder = work.folder(run)
    write_whole(join(folder, WEIGHTS), safetensors.torch.save(dict(weights)))
    write_whole(join(folder, HISTORY), state.history.parquet())
    delete(join(folder, VALIDATIONS))  # of an earlier training, which may have validated where this one does not
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
        "parameters": sum(parameter.numel() for parameter in state.network.parameters()),
        "trust": trust_record(state.trust) if state.trust else {},
        "events": [event.model_dump() for event in state.events],
    }
    if state.start.record:
        outcome["started_from"] = state.start.record
    outcome |= asdict(identity(work.case, run, state.went_on_from))
    write_record(folder, run, work.data_sets, outcome)


def _write_final(folder: str, final: Checkpoint) -> None:
    """Write the state at a run's end, from which a longer one may go on; a run is whole without it."""
    try:
        written = write_checkpoint(join(folder, FINAL), final, keep=1)
        for other in checkpoint_names(join(folder, FINAL)):  # of the same step, where the run was made again
            if other != written:
                delete(join(folder, FINAL, other))
    except (OSError, StorageUnavailableError) as error:
        note(f"{join(folder, FINAL)}: the state at the end cannot be kept, so more steps will begin anew: {error}")
