"""The next step's batch is made while this step computes, and copied to the device beside it."""

from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from mtlcore import MixedLabels
from pipelines.batches import MixedBatch

T = TypeVar("T")


def one_ahead(make: Callable[[int], T], numbers: Iterable[int]) -> Generator[T]:
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


def pinned(batch: MixedBatch, device: torch.device) -> MixedBatch:
    """Return the batch in memory from which a GPU copies by itself; as it is for a CPU."""
    if device.type != "cuda":
        return batch

    def of(labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: y.pin_memory() for name, y in labels.items()}

    mixed = batch.mixed and MixedLabels(of(batch.mixed.labels), batch.mixed.own)
    return MixedBatch(batch.x.pin_memory(), of(batch.labels), mixed)


def on_device(batch: MixedBatch, device: torch.device, channels_last: bool) -> MixedBatch:
    """Return the batch on a device; the copy of a pinned one goes on beside what follows."""
    there = batch.to(device)
    if channels_last and there.x.ndim == 4:
        there = replace(there, x=there.x.contiguous(memory_format=torch.channels_last))
    return there
