"""What a network starts from: drawn weights, those of a file or hub, or an export."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mtlcore import MultiTaskNetwork
from mtlcore.exported import is_exported, read_description, trained_together
from mtlcore.networks.depth import layer_depths
from mtlcore.networks.pretrained import tasks_in_weights
from pipelines.case.network import Network


@dataclass(frozen=True)
class Start:
    """How a network starts.

    Attributes:
        freeze_steps: at first, the steps in which its backbone stays as it is.
        layer_decay: what a layer's learning rate is multiplied by, once a layer from the heads down.
        record: what it starts from, for run.json: ``from``, the tasks that it was ``trained_on`` where one can tell,
            and the ``sha256`` of its file; empty where it is drawn.
    """

    freeze_steps: int = 0
    layer_decay: float = 1.0
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What it starts from, for the run's events; empty where it is drawn."""
        if not self.record:
            return ""
        tasks = f", trained on {', '.join(self.record['trained_on'])}" if self.record["trained_on"] else ""
        digest = f"; sha256 {self.record['sha256'][:12]}" if self.record["sha256"] else ""
        return f"started from {self.record['from']}{tasks}{digest}"

    def scales(self, network: MultiTaskNetwork) -> dict[str, float]:
        """Return by parameter name what its learning rate is multiplied by; empty where by nothing.

        Layer l of L has decay^(L - l), heads have 1: H. Bao et al., "BEiT", ICLR 2022, and before it K. Clark et al.,
        "ELECTRA", ICLR 2020.
        """
        if self.layer_decay == 1.0:
            return {}
        depths = layer_depths(network.backbone)
        layers = max(depths.values(), default=-1) + 1
        return {f"backbone.{name}": self.layer_decay ** (layers - depth) for name, depth in depths.items()}


def start_of(settings: Network, task_names: Sequence[str]) -> Start:
    """Return how a network for some tasks starts: freezing and decay are of one that starts from trained weights.

    Raises:
        ValueError: the export cannot be read.
    """
    place = settings.pretrained
    if not place:
        return Start()
    what, of_tasks = str(settings.backbone if place is True else place), trained_on(place, task_names)
    if isinstance(place, str) and is_exported(place):
        if not of_tasks:
            return Start()  # the export has no network for this task
        exported = read_description(place)
        what = f"the export {exported.case} ({exported.arm}, seed {exported.seed})"
    record = {"from": what, "trained_on": list(of_tasks), "sha256": settings.pretrained_sha256}
    return Start(settings.freeze_steps, settings.layer_decay, record)


def weights_file(settings: Network | str) -> Path | None:
    """Return the file that a network's first weights are read from; None where they are drawn or a hub's."""
    place = settings if isinstance(settings, str) else settings.pretrained
    if not isinstance(place, str):
        return None
    if is_exported(place):
        return Path(place) / "model.safetensors"
    return Path(place) if place.endswith(".safetensors") else None


def trained_on(place: bool | str | None, task_names: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks that have shaped the weights with which a network would start, where one can tell.

    Raises:
        OSError, ValueError: they cannot be read.
    """
    if not isinstance(place, str):
        return ()
    if is_exported(place):
        return trained_together(read_description(place), task_names)
    return tasks_in_weights(place) if Path(place).is_file() else ()
