"""One training step: forward, loss, backward, optimiser, from a batch on the device."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

from mtlcore import HeadInputs, JointLoss, MixedLabels, RelatednessProbe
from mtlcore.diagnostics.trust import Observation
from mtlcore.distributed import world_size
from pipelines.batches.batch import MixedBatch
from pipelines.case.training import Matching, Training
from pipelines.case.unlabelled import Unlabelled
from pipelines.train.eval_mode import evaluating
from pipelines.train.loss_by_step import LossByStep
from pipelines.train.sharding import share_buffers
from pipelines.train.state import TrainingState
from pipelines.train.step_graphs import Record, StepGraphs


class Step:
    """What every step of a run works with.

    Args:
        state: of the run; a step changes its network, optimiser, balancer and trust.
        network: the state's, ready for these workers.
        joint_loss: the objective.
        training: the settings.
        matching: the arm's.
        unlabelled: the arm's.
        probe: measures how tasks relate.
        head_inputs: what went into each head, for the estimate of trust; None where there is none.
        by_step: the objective as it is in each step, where it changes with the step.

    Attributes:
        graphs: what replays recorded steps; None where each is computed.
    """

    def __init__(
        self,
        state: TrainingState,
        network: nn.Module,
        joint_loss: JointLoss,
        training: Training,
        matching: Matching | Literal["none"],
        unlabelled: Unlabelled,
        probe: RelatednessProbe,
        head_inputs: HeadInputs | None,
        by_step: LossByStep | None = None,
    ) -> None:
        self._state, self._network, self._joint_loss, self._training = state, network, joint_loss, training
        self._matching = matching if isinstance(matching, Matching) else Matching(trust="full")
        self._unlabelled, self._probe, self._head_inputs = unlabelled, probe, head_inputs
        self._parts: tuple[str, ...] = ()
        self._coupling: float | Tensor = 1.0
        self._by_step = by_step
        self._given: Tensor | None = None  # the weights that stand in self._weights
        self._weights: Tensor | None = None
        self.graphs: StepGraphs | None = None

    def replay(self, record: Record) -> None:
        """Have steps recorded and replayed from here on."""
        self.graphs = StepGraphs(self._compute, record)
        # A recording reads it anew in every step, where it lies.
        self._coupling = torch.ones((), device=next(self._network.parameters()).device)

    def take(self, batch: MixedBatch, measured: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Train on the worker's shard of the batch; return its loss and its share of each part, both detached.

        Where steps are replayed (``graphs``), what is returned holds until the next step.

        Args:
            batch: on the worker's device; it may have no row.
            measured: whether to measure how tasks relate; a batch in pieces is measured by its first. Such a step is
                never replayed, nor is one with a frozen backbone.
        """
        trust = self._state.trust
        kind: Observation = trust.next_kind() if trust else "nothing"
        coupling = self._matching.ramp(self._state.step, compares_losses=self._state.balancer.reads_progress)
        if isinstance(self._coupling, Tensor):
            self._coupling.fill_(coupling)
        else:
            self._coupling = coupling
        self._change()
        # A recording made while the backbone is frozen would leave it so.
        if self.graphs is None or measured or self._state.is_frozen:
            values = self._compute(batch, kind, measured)
        else:
            values = self.graphs.take(batch, kind)
        if trust:
            trust.count_step()
        loss, *parts = values
        return loss, dict(zip(self._parts, parts, strict=True))

    def _change(self) -> None:
        """Make the objective that of this step, where it changes with the step."""
        if self._by_step is None:
            return
        joint_loss, weights = self._by_step.at(self._state.step)
        if joint_loss is not self._joint_loss:
            self._joint_loss = joint_loss
            if self.graphs:
                self.graphs.renew()
        if weights is not None and weights is not self._given:
            self._given = weights
            if self._weights is None:
                self._weights = weights.to(next(self._network.parameters()).device, copy=True)
            else:  # a recording reads them where they lie
                self._weights.copy_(weights)

    def _compute(self, batch: MixedBatch, kind: Observation, measured: bool = False) -> Sequence[Tensor]:
        """Do a step's work on the device, without waiting for it unless it is measured; return the loss and its parts.

        ``kind``: what trust does.
        """
        state, trust = self._state, self._state.trust
        # What earlier batches have shown: a label does not vouch for itself.
        cells_trusted = trust.by_edge() if trust and self._matching.trust == "estimated" else None
        state.optimizer.zero_grad(set_to_none=True)
        pieces = self._training.accumulate
        share = self._unlabelled.ramp(state.step)
        priors = state.shifted_priors.by_edge() if state.shifted_priors else None
        # A loss is divided by the count of the whole batch, which a piece or a worker does not see. Sums over workers
        # are begun as soon as they can be, and waited for as late.
        counting = None
        if pieces > 1 or world_size() > 1:
            beside = state.unlabelled.counts(batch.labels, share) if state.unlabelled else None
            counting = self._joint_loss.begin_counts(batch.labels, cells_trusted, batch.mixed, beside)
        values, observations, collected = [], [], None
        for piece in range(pieces):
            micro_batch = batch if pieces == 1 else piece_of(batch, piece, pieces)
            with _alone(self._network) if piece < pieces - 1 else nullcontext():
                with (
                    evaluating(state.network.backbone) if state.is_frozen else nullcontext(),
                    self._probe.reading(measured and piece == 0),
                    autocast(micro_batch.x.device, self._training.precision),
                ):
                    logits, strong, averages = self._predicted(micro_batch)
                beside = None
                if state.unlabelled and strong is not None:
                    reads_average = self._unlabelled.pseudo_labels.read_from == "average"
                    beside = state.unlabelled.terms(
                        averages if averages is not None and reads_average else logits,
                        strong,
                        micro_batch.labels,
                        teacher=averages,
                        trust=cells_trusted,
                        share=share,
                    )
                counts = counting and counting.wait()[0]
                value = self._joint_loss(
                    logits,
                    micro_batch.labels,
                    cells_trusted,
                    micro_batch.mixed,
                    counts,
                    self._coupling,
                    beside,
                    priors,
                    self._weights,
                )
                if state.shifted_priors:
                    state.shifted_priors.collect(logits, micro_batch.labels)
                self._probe.measure(state.step, logits, micro_batch.labels)
                if self._head_inputs:
                    rows = len(micro_batch.x)  # the strong views' features follow
                    observations.append((_first_rows(self._head_inputs.last, rows), micro_batch.labels))
                # Before the backward pass, beside which the sum over workers travels.
                if trust and piece == pieces - 1:
                    features, observed = zip(*observations, strict=True)
                    collected = trust.collect(_joined(features), _joined(observed))
                state.balancer.backward(value)
            self._parts = tuple(value.parts)
            values.append([value.loss.detach(), *value.parts.values()])
        if state.is_frozen:
            # After the backward pass, so that workers' sums and whatever looks at gradients are as in every step; an
            # optimiser passes over what has no gradient: neither decay nor moments change it.
            for parameter in state.network.backbone.parameters():
                parameter.grad = None
        if self._training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._training.clip_norm)
        state.optimizer.step()
        if trust and collected:
            trust.take_in(collected, kind)
        if state.unlabelled:
            state.unlabelled.end_step()
        if state.shifted_priors:
            state.shifted_priors.end_step()
        if state.average:
            state.average.update(state.network, state.step)
            if world_size() > 1:  # running statistics are each worker's own, and the first one's in a checkpoint
                share_buffers(state.average.module)
        if pieces == 1:
            return values[0]
        return torch.stack([torch.stack(of_piece) for of_piece in values]).sum(dim=0).unbind()

    def _predicted(
        self, batch: MixedBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, Tensor] | None]:
        """Return the logits by task of the weak view, and where something needs them those of the strong view, and the
        moving average's of the weak one."""
        if batch.strong is None:
            return self._network(batch.x), None, None
        # One pass for both: DistributedDataParallel expects one before a backward pass.
        both, rows = self._network(torch.cat([batch.x, batch.strong])), len(batch.x)
        weak, strong = ({name: z[part] for name, z in both.items()} for part in (slice(rows), slice(rows, None)))
        averages = None
        if self._state.average:
            with torch.no_grad():
                averages = self._state.average.module(batch.x)
        return weak, strong, averages


def piece_of(batch: MixedBatch, piece: int, pieces: int) -> MixedBatch:
    """Return every ``pieces``-th row, from the one numbered ``piece`` on."""

    def rows_of_piece(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: y[piece::pieces] for name, y in labels.items()}

    mixed = batch.mixed and MixedLabels(rows_of_piece(batch.mixed.labels), batch.mixed.own)
    strong = None if batch.strong is None else batch.strong[piece::pieces]
    # By stride: rows of a dataset lie side by side, and a stride gives every piece some of each.
    return MixedBatch(batch.x[piece::pieces], rows_of_piece(batch.labels), mixed, strong)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network computes in a precision; losses raise what they get to float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _alone(network: nn.Module) -> AbstractContextManager[None]:
    """Let gradients add up on each worker; they are summed over workers with the last piece's."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def _first_rows(features: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """Return the first rows of features; heads that were given the same ones are given the same, here too."""
    parts: dict[int, Tensor] = {}
    for of_task in features.values():
        parts.setdefault(id(of_task), of_task if len(of_task) == rows else of_task[:rows])
    return {name: parts[id(of_task)] for name, of_task in features.items()}


def _joined(pieces: tuple[Mapping[str, Tensor], ...]) -> Mapping[str, Tensor]:
    if len(pieces) == 1:
        return pieces[0]
    joined: dict[str, Tensor] = {}
    for name in pieces[0]:
        same = next((n for n in joined if all(piece[n] is piece[name] for piece in pieces)), None)
        joined[name] = torch.cat([piece[name] for piece in pieces]) if same is None else joined[same]
    return joined
