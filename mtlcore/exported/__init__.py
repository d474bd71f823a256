"""A trained network for use, in plain PyTorch: the format of `kindred export`, and how it is loaded.

======================  ========================================================================================
file                    what it holds
======================  ========================================================================================
description             network.json as typed objects: tasks, input, calibration, and how the networks are built
scaling                 from pixels or numbers to what the networks were trained on
table_reading           classes from another task's prediction through a relatedness table, as in evaluation
model                   the module: inputs as they are read, to logits, probabilities and embeddings by task
folder                  a folder with weights and description, written and loaded
warm_start              a network that starts from an exported one
======================  ========================================================================================
"""

from mtlcore.exported.description import (
    Description,
    ExportedEdge,
    ExportedNetwork,
    ExportedReading,
    ExportedTask,
)
from mtlcore.exported.folder import exported_files, load_exported, save_exported
from mtlcore.exported.model import ExportedModel
from mtlcore.exported.warm_start import is_exported, read_description, start_from, trained_together

__all__ = [
    "Description",
    "ExportedEdge",
    "ExportedModel",
    "ExportedNetwork",
    "ExportedReading",
    "ExportedTask",
    "exported_files",
    "is_exported",
    "load_exported",
    "read_description",
    "save_exported",
    "start_from",
    "trained_together",
]
