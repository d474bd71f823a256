"""Export a trained network: weights and a JSON description in a folder, without auxiliary tasks.

::

    model.safetensors       weights
    network.json            tasks, input, and how the network is built: :class:`Description`
    backbone/config.json    of an ``hf:`` backbone: its configuration, so that no network is asked for it
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from mtlcore import (
    KINDS,
    Multiclass,
    MultiTaskNetwork,
    Ordinal,
    Regression,
    Task,
    answer,
    seeded_init,
    without_auxiliary,
)
from mtlcore.networks.hugging_face import PictureEncoder
from mtlcore.suggestions import did_you_mean
from pipelines.base.atomic import write_atomically
from pipelines.base.errors import UserError
from pipelines.batches.normalize import normalize
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import build_network, tasks_of
from pipelines.case.build_network import network_of
from pipelines.case.case import Case
from pipelines.case.data import Input, PictureInput
from pipelines.case.network import Network
from pipelines.evaluate.evaluate import check_trained
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import WEIGHTS, Run, list_runs, read_weights

DESCRIPTION, BACKBONE = "network.json", "backbone"


class ExportedTask(BaseModel):
    """A task that the network serves: the names of its outputs, in the order of its logits."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["multiclass", "multilabel", "ordinal", "regression"]
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    loss: str | None = Field(default=None, description="of an ordinal or regression task, by which it was trained")
    mean: tuple[float, ...] = Field(default=(), description="of a regression task: number = output x spread + mean")
    spread: tuple[float, ...] = ()

    def task(self, name: str) -> Task:
        """Return it as the method's own object."""
        given = {"loss": self.loss, "mean": self.mean, "spread": self.spread}
        known = {field.name for field in fields(KINDS[self.kind])}
        return KINDS[self.kind](name, self.outputs, **{k: v for k, v in given.items() if v and k in known})  # type: ignore[arg-type]


def _described(task: Task) -> ExportedTask:
    """Return a task as network.json has it."""
    keys = ("loss", "mean", "spread") if isinstance(task, Ordinal | Regression) else ()
    more = {key: value for key in keys if (value := getattr(task, key, None))}
    return ExportedTask(kind=task.kind, outputs=task.outputs, **more)  # type: ignore[arg-type]


class Description(BaseModel):
    """network.json: what is needed to build the network and to use it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    case: str
    run: str
    provenance: dict[str, Any]
    input: Input
    tasks: dict[str, ExportedTask]
    trained_with: tuple[str, ...] = Field(description="every task that the network was trained for, in its order")
    network: Network


@dataclass(frozen=True)
class Exported:
    """A network that was exported, ready to predict.

    Attributes:
        network: in evaluation mode; maps scaled inputs to logits by task.
        tasks: the tasks that it serves, by name.
        description: all of network.json.
    """

    network: MultiTaskNetwork
    tasks: dict[str, Task]
    description: Description

    @torch.inference_mode()
    def predict(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return what the heads put out by task, float32, (N, task.width): logits, or standardised numbers.

        Args:
            inputs: images, uint8, (N, channels, height, width), or vectors, floating point, (N, size), unscaled.

        Raises:
            ValueError: the inputs are of another shape or type.
        """
        declared = self.description.input
        right_type = inputs.dtype is torch.uint8 if isinstance(declared, PictureInput) else inputs.is_floating_point()
        if tuple(inputs.shape[1:]) != tuple(declared.shape) or not right_type:
            dtype = "uint8" if isinstance(declared, PictureInput) else "floating point"
            raise ValueError(
                f"inputs: found {inputs.dtype} of shape {tuple(inputs.shape)}; expected {dtype} of shape "
                f"(N, {', '.join(map(str, declared.shape))})"
            )
        return self.network(normalize(inputs, declared))  # type: ignore[no-any-return]

    def answers(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return what the network says by task, float32, (N, outputs); arguments and errors of :meth:`predict`.

        Probabilities of a multiclass, multilabel or ordinal task; a regression task's numbers in the labels' unit.
        """
        return {name: answer(z, self.tasks[name]) for name, z in self.predict(inputs).items()}


def export_run(
    case: Case,
    data_sets: DataSets,
    arm: str,
    seed: int | None,
    task: str | None,
    folder: Path,
) -> Path:
    """Write a run's network without its auxiliary tasks into a folder; return the folder.

    Args:
        case: the case.
        data_sets: as :func:`pipelines.ingest.ingest.ingested` returns them.
        arm: the arm.
        seed: the seed; the case's first where it is None.
        task: of an arm with a network for every task, which; None for an arm with a shared network.
        folder: new, empty, or that of an earlier export.

    Raises:
        UserError: there is no such run, it is not trained, or the folder is something else's.
    """
    run = _find(case, arm, seed, task)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / DESCRIPTION).is_file())):
        raise UserError(f"OUT: found {str(folder)!r}, which is there and no export; expected a folder to be made")
    experiment = experiment_folder(case)
    check_trained([run], experiment, data_sets)
    tasks = tasks_of(case)
    case = case.for_arm(run.arm)
    network = build_network(case, list(run.tasks), run.seed)
    network.load_state_dict(read_weights(run.folder(experiment)))
    network = without_auxiliary(network, list(tasks.values()))

    settings, configuration = _self_contained(case.network, network)
    description = Description(
        case=case.name,
        run=str(run),
        provenance=provenance(data_sets),
        input=case.input,
        tasks={name: _described(tasks[name]) for name in network.task_names},
        trained_with=run.tasks,
        network=settings,
    )
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    try:
        (folder / DESCRIPTION).unlink(missing_ok=True)  # it stands beside the weights that it describes, or not at all
        write_atomically(folder / WEIGHTS, safetensors.torch.save(weights))
        if configuration is not None:
            write_atomically(folder / BACKBONE / "config.json", configuration)
        write_atomically(folder / DESCRIPTION, description.model_dump_json(indent=1))
    except OSError as error:
        raise UserError(f"OUT: {folder} cannot be written: {error.strerror}") from None
    return folder


def load_exported(folder: str | Path, *, run_code: bool = False) -> Exported:
    """Load what :func:`export_run` wrote. Nothing is unpickled, and nothing is fetched.

    Args:
        folder: the folder.
        run_code: whether a backbone ``package.module:callable`` may be imported and called. The folder names it: say
            so only where you trust who made the folder.

    Raises:
        UserError: a file is missing or broken, or the backbone is somebody's callable and ``run_code`` is False.
    """
    folder = Path(folder)
    file = folder / DESCRIPTION
    try:
        description = Description.model_validate_json(file.read_text(encoding="utf-8"))
        weights = safetensors.torch.load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename or folder / WEIGHTS}: no such file; expected what `kindred export` writes"
        ) from None
    except (OSError, UnicodeDecodeError, ValidationError, safetensors.SafetensorError) as error:
        raise UserError(f"{folder}: not what `kindred export` writes: {str(error).splitlines()[0]}") from None
    settings = description.network
    kind, colon, _ = settings.backbone.partition(":")
    if colon and kind not in ("hf", "timm") and not run_code:
        raise UserError(
            f"{file}: the backbone is {settings.backbone!r}, code that is run when the network is built; "
            "expected load_exported(folder, run_code=True) where you trust it"
        )
    # Nothing outside the folder is read, whatever network.json says.
    backbone = {"backbone": f"hf:{folder.absolute() / BACKBONE}"} if kind == "hf" else {}
    settings = settings.model_copy(update={"pretrained": None, **backbone})
    served = {name: exported.task(name) for name, exported in description.tasks.items()}
    # Auxiliary tasks were removed at export; placeholders rebuild the network as it was trained.
    tasks = [served.get(name, Multiclass(name, ("-",))) for name in description.trained_with]
    try:
        with seeded_init(0):
            network = network_of(settings, description.input.shape, tasks).restrict_to_tasks(list(served))
        network.load_state_dict(weights)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: the network cannot be built: {' '.join(str(error).split())[:300]}") from None
    return Exported(network.eval(), served, description)


def _find(case: Case, arm: str, seed: int | None, task: str | None) -> Run:
    if arm not in case.arms:
        raise UserError(f"--arm: found {arm!r}, no such arm{did_you_mean(arm, case.arms)}")
    if case.arms[arm].reads_the_table:
        raise UserError(
            f"--arm: found {arm!r}, which predicts through a relatedness table, and an exported network by its heads "
            f"alone; expected {case.trained_as(arm)!r}, whose networks it uses"
        )
    arm = case.trained_as(arm)
    seeds = case.training.seeds
    if seed is not None and seed not in seeds:
        raise UserError(f"--seed: found {seed}; expected one of {', '.join(map(str, seeds))}")
    shared = case.arms[arm].networks == "shared"
    if shared and task is not None:
        raise UserError(
            f"--task: found {task!r}, and the arm {arm!r} has one network for all tasks; expected no --task"
        )
    for_use = [name for name in case.tasks_of_arm(arm) if not case.tasks[name].auxiliary]
    if not shared and task not in for_use:
        problem = "missing" if task is None else f"found {task!r}"
        raise UserError(
            f"--task: {problem}; the arm {arm!r} has a network for every task; expected one of {', '.join(for_use)}"
        )
    key = arm, "shared" if shared else task, seeds[0] if seed is None else seed
    return next(run for run in list_runs(case) if (run.arm, run.network, run.seed) == key)


def _self_contained(settings: Network, network: MultiTaskNetwork) -> tuple[Network, str | None]:
    """Return settings that build the network without its first weights, and an ``hf:`` backbone's configuration."""
    update: dict[str, Any] = {"pretrained": None}
    encoder = next((module for module in network.modules() if isinstance(module, PictureEncoder)), None)
    if encoder is None:
        return settings.model_copy(update=update), None
    config: Any = encoder.model.config
    content = json.loads(config.to_json_string())
    # The model's own size, not the input's: a pretrained model keeps the size that it was trained for.
    size = {key: content[key] for key in ("image_size", "num_channels") if key in content}
    update["backbone"] = f"hf:{BACKBONE}"
    update["options"] = size | {"pool": encoder.pool}
    return settings.model_copy(update=update), json.dumps(content, indent=1)
