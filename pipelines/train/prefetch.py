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
    """Yield ``make(number)`` of every number, each begun in another thread when the one before it is asked for.

    What ``make`` raises is raised where its result would be. It must depend on the number alone: what was made ahead
    and never asked for is lost.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = None
        for number in numbers:
            made, coming = coming, thread.submit(make, number)
            if made is not None:
                yield made.result()
        if coming is not None:
            yield coming.result()


def to_layout(batch: MixedBatch, device: torch.device, channels_last: bool) -> MixedBatch:
    """Return the batch as a step wants it: images with channels last, and in memory from which a GPU copies by
    itself."""
    if channels_last and batch.x.ndim == 4:
        batch = replace(batch, x=batch.x.contiguous(memory_format=torch.channels_last))
    if device.type != "cuda":
        return batch

    def of(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: y.pin_memory() for name, y in labels.items()}

    mixed = batch.mixed and MixedLabels(of(batch.mixed.labels), batch.mixed.own)
    return MixedBatch(batch.x.pin_memory(), of(batch.labels), mixed)
