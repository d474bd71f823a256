"""The module of an exported model: inputs as they are read, to logits, probabilities and embeddings by task."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from mtlcore.exported.description import Description
from mtlcore.exported.scaling import Scaling
from mtlcore.exported.table_reading import TableReading
from mtlcore.losses.answer import answer
from mtlcore.networks.multi_task_network import MultiTaskNetwork


class ExportedModel(nn.Module):
    """A trained model for use: scaling, networks, tables and calibration in one module.

    Args:
        description: network.json.
        networks: as many as it says, in its order.

    Attributes:
        description: network.json.
        tasks: the tasks that it predicts, by name.
    """

    def __init__(self, description: Description, networks: list[MultiTaskNetwork]) -> None:
        super().__init__()
        self.description = description
        self.tasks = description.served
        self.scaling = Scaling(description.input)
        self.networks = nn.ModuleList(networks)
        kinds = {name: task.kind for name, task in description.tasks.items()}
        self.readings = nn.ModuleList(TableReading(name, of, kinds) for name, of in description.readings.items())

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return logits by task, float32, (N, outputs), before calibration.

        Args:
            inputs: images, uint8, (N, channels, height, width), or vectors, floating point, (N, size), unscaled.
        """
        return self.from_embeddings(self.embeddings(inputs))

    def embeddings(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return what goes into each task's head, float32, (N, features).

        Of a plain backbone they are the same for all of a network's tasks: its features.
        """
        scaled = self.scaling(inputs)
        return {name: h for network in self._networks() for name, h in network.features(scaled).items()}

    def from_embeddings(self, embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return logits by task from what :meth:`embeddings` returns."""
        logits = {name: z for network in self._networks() for name, z in network.from_features(embeddings).items()}
        read = {reading.name: reading(logits) for reading in self._readings()}
        return {name: read.get(name, logits[name]) for name in self.tasks}

    def _networks(self) -> list[MultiTaskNetwork]:
        return [cast(MultiTaskNetwork, module) for module in self.networks]

    def _readings(self) -> list[TableReading]:
        return [cast(TableReading, module) for module in self.readings]

    def answers(self, logits: Mapping[str, Tensor], *, calibrated: bool = True) -> dict[str, Tensor]:
        """Return what the heads' outputs say by task, float32, (N, outputs).

        Probabilities of classes and labels, softmax or sigmoid of z / T of a multiclass or multilabel task; a
        regression task's numbers in the labels' unit.

        Args:
            logits: as :meth:`forward` returns them.
            calibrated: False for T = 1.
        """
        found = {}
        for name, z in logits.items():
            temperature = self.description.tasks[name].temperature if calibrated else 1.0
            found[name] = answer(z / temperature if temperature != 1.0 else z, self.tasks[name])
        return found

    def check(self, inputs: Tensor) -> None:
        """Check that inputs are what :meth:`forward` takes.

        Raises:
            ValueError: they are of another shape or type.
        """
        pictures, shape = self.scaling.picture, self.description.input_shape
        right_type = inputs.dtype is torch.uint8 if pictures else inputs.is_floating_point()
        if tuple(inputs.shape[1:]) != shape or not right_type:
            raise ValueError(
                f"inputs: found {inputs.dtype} of shape {tuple(inputs.shape)}; expected "
                f"{'uint8' if pictures else 'floating point'} of shape (N, {', '.join(map(str, shape))})"
            )

    @torch.inference_mode()
    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return calibrated probabilities (of a regression task, numbers) by task, float32, (N, outputs).

        Raises:
            ValueError: the inputs are of another shape or type.
        """
        self.check(inputs)
        return self.answers(self(inputs))


class Answers(nn.Module):
    """The model as one program: inputs to calibrated probabilities or numbers by task, in the order of its tasks."""

    def __init__(self, model: ExportedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return a tensor a task."""
        return tuple(self.model.answers(self.model(inputs)).values())
