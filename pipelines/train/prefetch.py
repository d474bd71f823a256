"""Prefetch: the next step's batch is made in a thread while this step computes."""

from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from mtlcore import MixedLabels
from pipelines.batches.batch import MixedBatch

T = TypeVar("T")


def prefetch(make: Callable[[int], T], numbers: Iterable[int]) -> Generator[T]:
    """Yield ``make(number)`` for every number, each computed in another thread while the caller uses the one before.

    What ``make`` raises is raised where its result would be. It must depend on the number alone: what was made ahead
    and never asked for is lost.
    """
    # One thread: batches are made in order, and one step ahead is enough to hide them behind a step.
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = None
        for number in numbers:
            made, coming = coming, thread.submit(make, number)
            if made is not None:
                yield made.result()
        if coming is not None:
            yield coming.result()


def to_layout(batch: MixedBatch, device: torch.device, channels_last: bool) -> MixedBatch:
    """Return the batch in the layout of a step: channels last for images, in pinned memory for a GPU."""
    if channels_last and batch.x.ndim == 4:
        batch = replace(batch, x=batch.x.contiguous(memory_format=torch.channels_last))
    if device.type != "cuda":
        return batch

    def of(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: y.pin_memory() for name, y in labels.items()}

    mixed = batch.mixed and MixedLabels(of(batch.mixed.labels), batch.mixed.own)
    return MixedBatch(batch.x.pin_memory(), of(batch.labels), mixed)
