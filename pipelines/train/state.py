"""The training state of a run: everything that its next step depends on.

Rows, augmentation and the learning rate are functions of (seed, step); what a network draws as it trains (dropout)
is seeded anew by (seed, step, rank). So there is no position in the data and no random state to keep.
"""

import platform
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtlcore import MovingAverage, MultiTaskNetwork, PairMeasured, RelatednessTrust, ShiftedPriors, UnlabelledLoss
from mtlcore.balancing import Balancer
from pipelines.case.start import Start
from pipelines.train.checkpoints.file import About, Checkpoint, Event
from pipelines.train.logs.loss_history import LossHistory
from pipelines.train.logs.validation_history import ValidationHistory
from pipelines.train.sharding import gather_full, reshard, reshard_all


@dataclass
class TrainingState:
    """A run in progress.

    Attributes:
        network: not wrapped in DistributedDataParallel.
        optimizer: of the network's parameters.
        balancer: of the objectives.
        trust: of the tables; None where the objective uses none.
        unlabelled: what rows teach the tasks that they are not labelled for; None where nothing.
        shifted_priors: how often the source's classes hold among a target's inputs; None where nothing reads it.
        average: the moving average of the network's weights; None where nothing reads it.
        evaluates_average: whether it is what is validated and kept, in the network's place.
        start: what the network was started from.
        history: the losses so far.
        measured: what was seen of how tasks relate.
        step: the number of steps that are done.
        seconds: spent in them, over all attempts.
        waited_for_data_s: of these, spent waiting for data.
        events: what happened to the run.
        validation: what validations came to.
        validation_s: seconds spent on them, over all attempts.
        best: the weights of the best validation, on the CPU; empty where they are not kept.
        log: the lines of the run's log.
        log_id: names the run in logs, the same after it resumes.
        went_on_from: the steps at which it went on from a shorter run, whose learning rates were others.
    """

    network: MultiTaskNetwork
    optimizer: torch.optim.Optimizer
    balancer: Balancer
    trust: RelatednessTrust | None
    unlabelled: UnlabelledLoss | None = None
    shifted_priors: ShiftedPriors | None = None
    average: MovingAverage | None = None
    evaluates_average: bool = False
    start: Start = field(default_factory=Start)
    history: LossHistory = field(default_factory=LossHistory)
    measured: list[PairMeasured] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    waited_for_data_s: float = 0.0
    events: list[Event] = field(default_factory=list)
    validation: ValidationHistory = field(default_factory=ValidationHistory)
    validation_s: float = 0.0
    best: dict[str, Tensor] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    log_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    went_on_from: tuple[int, ...] = ()

    @property
    def is_frozen(self) -> bool:
        """Whether the next step leaves the backbone as it is."""
        return self.step < self.start.freeze_steps

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and kept: the network, or the moving average of its weights."""
        return self.average.module if self.average and self.evaluates_average else self.network

    def checkpoint(self, run: str, provenance: dict[str, Any]) -> Checkpoint:
        """Return a copy of the state; the run may continue while it is written. The history must have been gathered.

        Where the network is sharded, all workers must call it: they put the tensors together.
        """
        assert len(self.history.rows) == self.step, "losses of some steps are not gathered"
        tensors = {
            **_copied("network", self.network.state_dict()),  # first: it leaves of sharded parameters the parts alone
            **_copied("optimizer", _slots(self.optimizer, self.network)),
            **_copied("balancer", self.balancer.state_dict()),
            "history": self.history.tensor(),
            "validation": self.validation.tensor(),
            "log": torch.tensor(np.array(bytearray("\n".join(self.log).encode()), dtype=np.uint8)),
            **{f"best.{name}": tensor for name, tensor in self.best.items()},  # never changed, so not copied
        }
        if self.trust is not None and self.trust.optimizer is not None:
            tensors |= _copied("trust", self.trust.state_dict())
            tensors |= _copied("trust_optimizer", _slots(self.trust.optimizer, self.trust))
        if self.unlabelled is not None:
            tensors |= _copied("unlabelled", self.unlabelled.state_dict())
        if self.shifted_priors is not None:
            tensors |= _copied("shifted_priors", self.shifted_priors.state_dict())
        if self.average is not None:
            tensors |= _copied("average", self.average.state_dict())
        about = About(
            run=run,
            step=self.step,
            provenance=provenance,
            versions=_versions(),
            seconds=self.seconds,
            waited_for_data_s=self.waited_for_data_s,
            columns=self.history.columns,
            measured=tuple(self.measured),
            events=tuple(self.events),
            validation_columns=self.validation.columns,
            validation_s=self.validation_s,
            log_id=self.log_id,
            went_on_from=self.went_on_from,
        )
        return Checkpoint(about=about, tensors=tensors)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the evaluated network's tensors on the CPU; of a sharded one all workers must call it."""
        tensors = self.evaluated.state_dict()
        return {name: gather_full(t.detach()).to("cpu", copy=True).contiguous() for name, t in tensors.items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Become the state that a checkpoint is a copy of."""
        about, tensors = checkpoint.about, checkpoint.tensors
        self.network.load_state_dict(reshard_all(_below("network", tensors), self.network.state_dict()))
        _load_slots(self.optimizer, self.network, _below("optimizer", tensors))
        self.balancer.load_state_dict(_below("balancer", tensors))
        if self.trust is not None and self.trust.optimizer is not None:
            self.trust.load_state_dict(_below("trust", tensors))
            _load_slots(self.trust.optimizer, self.trust, _below("trust_optimizer", tensors))
        if self.unlabelled is not None:
            self.unlabelled.load_state_dict(_below("unlabelled", tensors))
        if self.shifted_priors is not None:
            self.shifted_priors.load_state_dict(_below("shifted_priors", tensors))
        if self.average is not None:
            self.average.load_state_dict(_below("average", tensors))
        self.history = LossHistory(about.columns, tensors["history"].tolist())
        self.measured = list(about.measured)
        self.step, self.seconds, self.waited_for_data_s = about.step, about.seconds, about.waited_for_data_s
        self.events = list(about.events)
        self.validation = ValidationHistory.from_tensor(about.validation_columns, tensors["validation"])
        self.validation_s, self.log_id = about.validation_s, about.log_id
        self.went_on_from = about.went_on_from
        self.best = _below("best", tensors)
        self.log = bytes(tensors["log"].numpy()).decode().splitlines()


@lru_cache
def _versions() -> dict[str, str]:
    return {"torch": version("torch"), "ray": version("ray"), "python": platform.python_version()}


def _copied(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"{prefix}.{name}": gather_full(t.detach()).to("cpu", copy=True).contiguous() for name, t in tensors.items()
    }


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


# torch.distributed.checkpoint.state_dict does this too, but a parameter that has had no gradient yet, as of a head
# whose labels have not come up, it refuses to restore, or gives a step that it never took: a run would not resume to
# the bit. To import it takes half as long again as to import torch, in each of a run's processes.
def _slots(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """Return what an optimiser keeps of each parameter (moments, its count of steps), as ``parameter|slot``."""
    slots = {}
    for name, parameter in module.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                assert isinstance(value, Tensor), f"{type(optimizer).__name__} keeps {slot} as {type(value).__name__}"
                slots[f"{name}|{slot}"] = value
    return slots


def _load_slots(optimizer: torch.optim.Optimizer, module: nn.Module, slots: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what it kept; its settings stay what they are."""
    groups = optimizer.state_dict()["param_groups"]
    numbers: dict[Tensor, int] = {}
    for saved, group in zip(groups, optimizer.param_groups, strict=True):
        numbers |= dict(zip(group["params"], saved["params"], strict=True))
    parameters = dict(module.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in slots.items():
        name, _, slot = key.rpartition("|")
        state.setdefault(numbers[parameters[name]], {})[slot] = reshard(value, parameters[name])
    optimizer.load_state_dict({"state": state, "param_groups": groups})
