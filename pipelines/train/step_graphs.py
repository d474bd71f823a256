"""Steps replayed from CUDA graphs: all of a step's kernels, launched at once.

A step of a small network is a few hundred kernels of microseconds each, which the host launches more slowly than the
GPU runs them. Every step has the same shapes, so it can be recorded once and replayed: forward, losses, backward,
optimiser and trust. What changes from step to step lies in tensors that stay where they are: the batch, the learning
rate, the share of a blend.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mtlcore import MixedLabels
from mtlcore.diagnostics.trust import Observation
from pipelines.batches.batch import MixedBatch

# Computes a step of a kind from a batch, and returns what it came to.
Compute = Callable[[MixedBatch, Observation], Sequence[Tensor]]
# Records what a function sends to the device; returns what replays it, and the tensors that a replay writes.
Record = Callable[[Callable[[], Sequence[Tensor]]], tuple[Callable[[], object], Sequence[Tensor]]]

_WARM_UP = 3  # steps in which optimisers make their state, libraries choose kernels, and torch.compile compiles


class StepGraphs:
    """Takes steps: the first few one by one, then from a recording of each kind of step.

    All steps read the same buffers, recorded or not, so that it makes no difference to the numbers which ones are: a
    run that is resumed warms up anew.

    Args:
        compute: a step. It must not wait for the device, and its shapes must depend on the batch's alone.
        record: :class:`GpuRecorder`, on a GPU.
    """

    def __init__(self, compute: Compute, record: Record) -> None:
        self._compute, self._record = compute, record
        self._steps = 0
        self._batch: MixedBatch | None = None
        self._recorded: dict[Observation, tuple[Callable[[], object], Sequence[Tensor]]] = {}
        self._outdated: list[object] = []

    def renew(self) -> None:
        """Warm up and record anew from the next step on: what a step computes is another, as after a temperature."""
        self._steps = 0
        # Not let go: the memory that all recordings share goes with the last of them.
        self._outdated.append(self._recorded)
        self._recorded = {}

    def take(self, batch: MixedBatch, kind: Observation) -> Sequence[Tensor]:
        """Take a step; what it returns is overwritten by the next.

        Args:
            batch: on the device; as many rows as every step has.
            kind: of the step: each is recorded on its own.
        """
        held = self._batch = _buffers(batch) if self._batch is None else self._batch
        _copy(held, batch)
        self._steps += 1
        if self._steps <= _WARM_UP:
            return self._compute(held, kind)
        if kind not in self._recorded:
            self._recorded[kind] = self._record(lambda: self._compute(held, kind))
        replay, results = self._recorded[kind]
        replay()
        return results


class GpuRecorder:
    """Records on a GPU by stream capture; all recordings share a pool of memory, since one replay ends before another.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def __call__(self, compute: Callable[[], Sequence[Tensor]]) -> tuple[Callable[[], object], Sequence[Tensor]]:
        """Record what a function does; nothing of it is done yet."""
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # Threads read batches, pin and copy them meanwhile: only what this thread does may break a capture.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            results = compute()
        self._pool = graph.pool()
        return graph.replay, results


def _buffers(batch: MixedBatch) -> MixedBatch:
    """Return a batch of the same shapes and layouts; the share of a blend is a tensor in it."""
    mixed = batch.mixed and MixedLabels(
        {name: torch.empty_like(y) for name, y in batch.mixed.labels.items()}, torch.ones((), device=batch.x.device)
    )
    labels = {name: torch.empty_like(y) for name, y in batch.labels.items()}
    return replace(batch, x=torch.empty_like(batch.x), labels=labels, mixed=mixed)


def _copy(held: MixedBatch, batch: MixedBatch) -> None:
    held.x.copy_(batch.x, non_blocking=True)
    for name, y in batch.labels.items():
        held.labels[name].copy_(y, non_blocking=True)
    if held.mixed is not None and batch.mixed is not None:
        for name, y in batch.mixed.labels.items():
            held.mixed.labels[name].copy_(y, non_blocking=True)
        assert isinstance(held.mixed.own, Tensor)
        held.mixed.own.fill_(batch.mixed.own)
