"""One training step: forward, loss, backward, optimiser, from a batch on the device."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mtlcore import HeadInputs, JointLoss, MixedLabels, RelatednessProbe
from mtlcore.distributed import world_size
from pipelines.batches.batch import MixedBatch
from pipelines.case.training import Training
from pipelines.train.state import TrainingState


class Step:
    """What every step of a run works with.

    Args:
        state: of the run; a step changes its network, optimiser, balancer and trust.
        network: the state's, ready for these workers.
        joint_loss: the objective.
        training: the settings.
        trusted: whether the cells of tables count as far as they are trusted.
        probe: measures how tasks relate.
        head_inputs: what went into each head, for the estimate of trust; None where there is none.
    """

    def __init__(
        self,
        state: TrainingState,
        network: nn.Module,
        joint_loss: JointLoss,
        training: Training,
        trusted: bool,
        probe: RelatednessProbe,
        head_inputs: HeadInputs | None,
    ) -> None:
        self._state, self._network, self._joint_loss, self._training = state, network, joint_loss, training
        self._trusted, self._probe, self._head_inputs = trusted, probe, head_inputs

    def take(self, batch: MixedBatch, measured: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Train on the worker's shard of the batch; return its loss and its share of each part, both detached.

        Args:
            batch: on the worker's device; it may have no row.
            measured: whether to measure how tasks relate; a batch in pieces is measured by its first.
        """
        state, trust = self._state, self._state.trust
        # What earlier batches have shown: a label does not vouch for itself.
        cells_trusted = trust.by_edge() if trust and self._trusted else None
        state.optimizer.zero_grad(set_to_none=True)
        pieces = self._training.accumulate
        # A loss is divided by the count of the whole batch, which a piece or a worker does not see. Sums over workers
        # are begun as soon as they can be, and waited for as late.
        counting = None
        if pieces > 1 or world_size() > 1:
            counting = self._joint_loss.begin_counts(batch.labels, cells_trusted, batch.mixed)
        losses, parts, observations, collected = [], [], [], None
        for piece in range(pieces):
            micro_batch = batch if pieces == 1 else piece_of(batch, piece, pieces)
            with _alone(self._network) if piece < pieces - 1 else nullcontext():
                with (
                    self._probe.reading(measured and piece == 0),
                    autocast(micro_batch.x.device, self._training.precision),
                ):
                    logits = self._network(micro_batch.x)
                counts = counting and counting.wait()[0]
                value = self._joint_loss(logits, micro_batch.labels, cells_trusted, micro_batch.mixed, counts)
                self._probe.measure(state.step, logits, micro_batch.labels)
                if self._head_inputs:
                    observations.append((dict(self._head_inputs.last), micro_batch.labels))
                # Before the backward pass, beside which the sum over workers travels.
                if trust and piece == pieces - 1:
                    features, observed = zip(*observations, strict=True)
                    collected = trust.collect(_joined(features), _joined(observed))
                state.balancer.backward(value)
            losses.append(value.loss.detach())
            parts.append(value.parts)
        if self._training.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._training.clip_norm)
        state.optimizer.step()
        if trust and collected:
            trust.update(collected)
        return torch.stack(losses).sum(), {name: torch.stack([p[name] for p in parts]).sum() for name in parts[0]}


def piece_of(batch: MixedBatch, piece: int, pieces: int) -> MixedBatch:
    """Return every ``pieces``-th row, from the one numbered ``piece`` on."""

    def rows_of_piece(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: y[piece::pieces] for name, y in labels.items()}

    mixed = batch.mixed and MixedLabels(rows_of_piece(batch.mixed.labels), batch.mixed.own)
    # By stride: rows of a dataset lie side by side, and a stride gives every piece some of each.
    return MixedBatch(batch.x[piece::pieces], rows_of_piece(batch.labels), mixed)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network computes in a precision; losses raise what they get to float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _alone(network: nn.Module) -> AbstractContextManager[None]:
    """Let gradients add up on each worker; they are summed over workers with the last piece's."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return nullcontext()


def _joined(pieces: tuple[Mapping[str, Tensor], ...]) -> Mapping[str, Tensor]:
    if len(pieces) == 1:
        return pieces[0]
    return {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
