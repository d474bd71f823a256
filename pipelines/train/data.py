"""The training data of a case, opened and counted once for all its runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipelines.batches.batch import class_priors, open_readers, resident_bytes, resident_inputs
from pipelines.batches.counted_relatedness import with_counted_tables
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.case import Case

_LARGEST_SHARE = 0.5  # of a device's memory: the network, its gradients and activations need the rest


class DoesNotFitError(ValueError):
    """The training inputs do not fit the device that they are to stay on."""


@dataclass(frozen=True)
class TrainingData:
    """Datasets by split, and what is counted of the training labels.

    Attributes:
        readers: the training split's, by dataset.
        validation: the validation split's, by dataset; none where the case does not validate as it trains.
        related: the case with a table on every edge.
        priors: by task, how often each of its outputs holds.
    """

    readers: Mapping[str, BlockReader]
    validation: Mapping[str, BlockReader]
    related: Case
    priors: Mapping[str, tuple[float, ...]]
    _resident: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def resident_on(self, device: torch.device) -> Tensor:
        """Return all training inputs on a device, copied there once, as blocks hold them.

        Raises:
            DoesNotFitError: they would take more than half of the device's memory.
        """
        if device not in self._resident:
            if device.type == "cuda":
                size, memory = resident_bytes(self.readers), torch.cuda.get_device_properties(device).total_memory
                if size > memory * _LARGEST_SHARE:
                    raise DoesNotFitError(
                        f"training.data: found 'device', and the training inputs take {size / 1e9:.3g} GB of a "
                        f"device's {memory / 1e9:.3g} GB; expected half of it at most, or 'host'"
                    )
            self._resident[device] = resident_inputs(self.readers, device)
        return self._resident[device]


def open_training_data(case: Case, data_sets: DataSets) -> TrainingData:
    """Open the blocks of a case's training and validation datasets; reads the training labels once."""
    readers = open_readers(case, data_sets, "train")
    # Blocks of a split that is not looked at need not be on this machine.
    validates = case.training.validation.every_steps is not None
    validation = open_readers(case, data_sets, "validation") if validates else {}
    return TrainingData(readers, validation, with_counted_tables(case, readers), class_priors(case, readers))
