"""Batches made ahead of the steps that take them: read by threads, copied and altered on a stream beside the steps'."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import torch

from pipelines.batches.batch import MixedBatch, StoredBatch
from pipelines.case.training import Training
from pipelines.train.worker import Worker

T = TypeVar("T")
Loaded = tuple[MixedBatch, "torch.cuda.Event | None"]

_MOST_THREADS = 8  # beyond these the memory's bandwidth is what a gather waits for


def loader_threads(training: Training, worker: Worker) -> int:
    """Return how many threads read batches: ``training.loader_threads``, or what suits the machine.

    On a GPU the node's processors are shared out to its workers, and one of each worker's is left to the steps. On the
    CPU the steps need the processors themselves: one thread, one batch ahead.
    """
    if training.loader_threads is not None:
        return training.loader_threads
    if worker.device.type == "cpu":
        return 1
    return max(1, min(_MOST_THREADS, len(os.sched_getaffinity(0)) // worker.local_workers - 1))


def prefetch(make: Callable[[int], T], numbers: Iterable[int], *, ahead: int = 1, threads: int = 1) -> Generator[T]:
    """Yield ``make(number)`` of every number in order, each begun in another thread before it is asked for.

    What ``make`` raises is raised where its result would be. It must depend on the number alone: what was made ahead
    and never asked for is lost.

    Args:
        make: called in any thread, for several numbers at once where there are several threads.
        numbers: in the order in which they are wanted.
        ahead: how many are begun beyond the one that is asked for, at least 1.
        threads: how many make at once.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="batches") as pool:
        coming: deque[Future[T]] = deque()
        try:
            for number in numbers:
                coming.append(pool.submit(make, number))
                if len(coming) > ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


class DeviceFeed:
    """Moves stored batches to a worker's device and finishes them there.

    On a GPU both happen on a stream of its own, beside the steps: the copy from page-locked memory and the alterations
    of a later step run while an earlier one computes, and the step that takes a batch waits for it on the device, not
    on the host. On the CPU the same calls run where they stand.

    Args:
        finish: :func:`pipelines.batches.batch.finish_batch` of the case.
        device: the worker's.
        channels_last: whether images come with channels last.
    """

    def __init__(self, finish: Callable[[StoredBatch], MixedBatch], device: torch.device, channels_last: bool) -> None:
        self._finish, self._device, self._channels_last = finish, device, channels_last
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def load(self, stored: StoredBatch) -> Loaded:
        """Return a batch on the device, and on a GPU the event after which it is whole; called in any thread."""
        if self._stream is None:
            return self._laid_out(self._finish(stored.to(self._device))), None
        # The caching allocator of page-locked memory reuses a buffer only after the copies out of it have ended.
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            batch = self._laid_out(self._finish(stored.to(self._device)))
            ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
            ready.record(self._stream)
        return batch, ready

    def take(self, loaded: Loaded) -> MixedBatch:
        """Have the current stream wait for a loaded batch, and return it."""
        batch, ready = loaded
        if ready is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(ready)
            mixed = batch.mixed.labels.values() if batch.mixed else ()
            strong = () if batch.strong is None else (batch.strong,)
            for tensor in (batch.x, *batch.labels.values(), *mixed, *strong):
                tensor.record_stream(current)  # its memory is not given to another batch while a step reads it
        return batch

    def _laid_out(self, batch: MixedBatch) -> MixedBatch:
        if self._channels_last and batch.x.ndim == 4:
            strong = batch.strong
            return replace(
                batch,
                x=batch.x.contiguous(memory_format=torch.channels_last),
                strong=None if strong is None else strong.contiguous(memory_format=torch.channels_last),
            )
        return batch
