"""The training data of a case, opened and counted once for all its runs."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.batches.batch import class_priors, open_readers
from pipelines.batches.counted_relatedness import with_counted_tables
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.reader import BlockReader
from pipelines.case.case import Case


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


def open_training_data(case: Case, data_sets: DataSets) -> TrainingData:
    """Open the blocks of a case's training and validation datasets; reads the training labels once."""
    readers = open_readers(case, data_sets, "train")
    validates = case.training.validation.every_steps is not None
    validation = open_readers(case, data_sets, "validation") if validates else {}
    return TrainingData(readers, validation, with_counted_tables(case, readers), class_priors(case, readers))
