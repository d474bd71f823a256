"""Export a trained arm for use: a folder that plain PyTorch with `mtlcore` loads, and that a model hub takes.

::

    model.safetensors       weights
    network.json            tasks, input, calibration, and how the networks are built: mtlcore.exported.Description
    backbone/config.json    of an ``hf:`` backbone: its configuration, so that no network is asked for it
    case.yaml               the case, without the paths of the machine that trained it
    README.md               the model card
    predict.py              an example of its use
    model.onnx, model.pt2   with ``--format onnx`` and ``--format torch_export``: inputs to probabilities
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtlcore import FusionWeights, MultiTaskNetwork, Ordinal, Regression
from mtlcore.exported import (
    Description,
    ExportedEdge,
    ExportedModel,
    ExportedNetwork,
    ExportedReading,
    ExportedTask,
    exported_files,
)
from mtlcore.exported.folder import DESCRIPTION
from mtlcore.networks.hugging_face import PictureEncoder
from pipelines.base.atomic import write_atomically
from pipelines.base.errors import UserError
from pipelines.batches.batch import open_readers
from pipelines.blocks.datasets import DataSets
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import VectorInput
from pipelines.case.network import Network
from pipelines.evaluate.predict_split import trained_network
from pipelines.evaluate.results import Results
from pipelines.evaluate.table_arms import Reading, open_readings
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import read_record
from pipelines.sources.table_columns import TableColumn, resolved
from pipelines.use.choose import Choice, HeldOut, best_seed, held_out_of
from pipelines.use.formats import FORMATS, programs
from pipelines.use.model_card import model_card, portable_case, usage_example

BACKBONE = "backbone"
_CHECKED_INPUTS = 100


@dataclass(frozen=True)
class Built:
    """An arm ready to be written.

    Attributes:
        description: network.json.
        networks: as many as it says, in its order.
        backbone_configuration: of an ``hf:`` backbone, its config.json.
    """

    description: Description
    networks: list[MultiTaskNetwork]
    backbone_configuration: str | None

    def files(self) -> dict[str, bytes]:
        """Return weights and description, by file name."""
        return exported_files(self.description, self.networks, self.backbone_configuration)

    def model(self) -> ExportedModel:
        """Return it as a module, in evaluation mode."""
        return ExportedModel(self.description, self.networks).eval()


def export_run(
    case: Case,
    data_sets: DataSets,
    arm: str,
    seed: int | None,
    task: str | None,
    folder: Path,
    *,
    formats: Sequence[str] = (),
    results: Results | None = None,
) -> Path:
    """Write an arm's networks, without auxiliary tasks, into a folder; return the folder.

    Args:
        case: the case.
        data_sets: as :func:`pipelines.ingest.ingest.ingested` returns them.
        arm: the arm; one that predicts through a table takes the table along.
        seed: the seed; where it is None, the best on the validation split, or the case's first where there is none.
        task: of an arm with a network for every task, the one to export; all where it is None.
        folder: new, empty, or that of an earlier export.
        formats: of :data:`pipelines.use.formats.FORMATS`: what to write beside the weights.
        results: of the experiment, for the model card.

    Raises:
        UserError: there is no such run, it is not trained, the folder is something else's, or a format is unknown or
            cannot be written.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"--format: found {name!r}; expected one of {', '.join(FORMATS)}")
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / DESCRIPTION).is_file())):
        raise UserError(f"OUT: found {str(folder)!r}, which is there and no export; expected a folder to be made")
    built = build_export(case, data_sets, Choice.of(case, arm, seed, task))
    files = built.files()
    last = files.pop(DESCRIPTION)
    described = built.description
    if formats:
        files |= programs(built.model(), formats, _some_inputs(case, data_sets))
    files["case.yaml"] = portable_case(case).encode()
    files["README.md"] = model_card(case, data_sets, described, results).encode()
    files["predict.py"] = usage_example(described).encode()
    try:
        (folder / DESCRIPTION).unlink(missing_ok=True)  # it stands beside the weights that it describes, or not at all
        for name, content in [*files.items(), (DESCRIPTION, last)]:
            write_atomically(folder / name, content)
    except OSError as error:
        raise UserError(f"OUT: {folder} cannot be written: {error.strerror}") from None
    return folder


def build_export(case: Case, data_sets: DataSets, choice: Choice) -> Built:
    """Build an arm for use from its run's weights, calibrated on the validation split where there is one.

    Args:
        case: the case.
        data_sets: its datasets.
        choice: the arm, seed and task.

    Raises:
        UserError: the run is not trained.
    """
    choice.check_trained(case, data_sets)
    if choice.seed is None:
        seed, held_out = best_seed(case, data_sets, choice.arm)
    else:
        seed, held_out = choice.seed, held_out_of(case, data_sets, choice.arm, choice.seed)
    case, tasks, experiment = case.for_arm(choice.arm), tasks_of(case), experiment_folder(case)
    readings = open_readings(case, data_sets) if case.arms[choice.arm].reads_the_table else {}
    served = [choice.task] if choice.task else _for_use(case, choice.arm)
    readings = {name: reading for name, reading in readings.items() if name in served}
    read = {R.target.name for reading in readings.values() for R, _ in reading.edges}
    kept = [name for name in tasks if name in served or name in read]

    networks, parts = [], []
    runs = [run for run in choice.runs(case, seed) if set(run.tasks) & set(kept)]
    for run in runs:
        network = trained_network(case, run, experiment)
        of_run = [name for name in run.tasks if name in kept]
        networks.append(network.restrict_to_tasks(of_run).eval())
        parts.append(ExportedNetwork("" if len(runs) == 1 else f"{run.network}.", tuple(of_run), run.tasks))
    settings, configuration = _self_contained(case.network, networks[0])
    description = Description(
        case=case.name,
        arm=choice.arm,
        seed=seed,
        input=_input(case, data_sets),
        tasks={name: _task(case, name, held_out, served=name in served) for name in kept},
        networks=tuple(parts),
        network=settings,
        readings={
            name: _reading(reading, held_out.weights.get(name), fused=case.arms[choice.arm].fuse is not None)
            for name, reading in readings.items()
        },
        provenance=provenance(data_sets)
        | {"kindred": version("kindred-mtl"), "runs": [str(run) for run in runs]}
        | _started_from([run.folder(experiment) for run in runs]),
    )
    return Built(description, networks, configuration)


def _started_from(folders: Sequence[str]) -> dict[str, Any]:
    """Return what the runs' networks were started from, and the tasks that had shaped it; nothing of drawn ones."""
    starts = [start for folder in folders if (start := (read_record(folder) or {}).get("started_from"))]
    if not starts:
        return {}
    trained_on = list(dict.fromkeys(name for start in starts for name in start["trained_on"]))
    return {"started_from": starts[0] | {"trained_on": trained_on}}


def _for_use(case: Case, arm: str) -> list[str]:
    return [name for name in case.tasks_of_arm(arm) if not case.tasks[name].auxiliary]


def _input(case: Case, data_sets: DataSets) -> dict[str, Any]:
    """Return the input section, with the columns of tables by their names: it is by these that they are taken."""
    declared = case.input
    settings = declared.model_dump(mode="json")
    if not isinstance(declared, VectorInput):
        return settings
    names = next((of.vector_columns for of in data_sets.manifests.values() if of.vector_columns), ())
    columns = list(declared.table_columns) or [TableColumn(name=name, missing="refuse") for name in names]
    if any("*" in one.name for one in columns):
        columns = resolved(names, columns, "input.columns")
    return settings | {
        "columns": [one.model_dump(mode="json") for one in columns],
        "missing": "mean" if declared.fills_missing else "refuse",
    }


def _task(case: Case, name: str, held_out: HeldOut, *, served: bool) -> ExportedTask:
    task, fitted = tasks_of(case)[name], held_out.fitted.get(name)
    # The weights and focusing of a loss of classes change nothing of what its head puts out.
    keys = ("loss", "mean", "spread") if isinstance(task, Ordinal | Regression) else ()
    more = {key: value for key in keys if (value := getattr(task, key, None))}
    return ExportedTask(
        kind=task.kind,  # type: ignore[arg-type]
        outputs=task.outputs,
        served=served,
        temperature=fitted.temperature if fitted else 1.0,
        thresholds=fitted.thresholds if fitted else (),
        calibrated_on="validation" if fitted else None,
        **more,
    )


def _reading(reading: Reading, weights: FusionWeights | None, *, fused: bool) -> ExportedReading:
    weights = weights or (FusionWeights() if fused else FusionWeights(0.0, 0.0))
    edges = [
        ExportedEdge(
            target=R.target.name,
            table=tuple(tuple(None if cell != cell else cell for cell in row) for row in R.table.tolist()),
            prior=tuple(prior.tolist()),
        )
        for R, prior in reading.edges
    ]
    return ExportedReading(
        edges=tuple(edges),
        prior=tuple(reading.prior.tolist()),
        seen=tuple(reading.seen.tolist()),
        fused=fused,
        head=weights.head,
        table=weights.table,
        alone=weights.alone,
    )


def _some_inputs(case: Case, data_sets: DataSets) -> torch.Tensor:
    """Return inputs of the case's own, as they are read: what an exported program is checked with."""
    for split in ("validation", "test", "train"):
        for reader in open_readers(case, data_sets, split).values():
            if len(reader):
                rows = np.arange(min(_CHECKED_INPUTS, len(reader)))
                return torch.from_numpy(reader.gather(rows).inputs)
    raise AssertionError("a case that was trained has rows")


def _self_contained(settings: Network, network: MultiTaskNetwork) -> tuple[dict[str, Any], str | None]:
    """Return settings that build the network without its first weights, and an ``hf:`` backbone's configuration."""
    plain: dict[str, Any] = {
        "backbone": settings.backbone,
        "widths": list(settings.widths) if settings.widths else None,
        "options": settings.options,
        "pretrained": None,
        "sharing": settings.sharing.model_dump(mode="json"),
        "head_hidden": list(settings.head.hidden),
    }
    encoder = next((module for module in network.modules() if isinstance(module, PictureEncoder)), None)
    if encoder is None:
        return plain, None
    config: Any = encoder.model.config
    content = json.loads(config.to_json_string())
    # The model's own size, not the input's: a pretrained model keeps the size that it was trained for.
    size = {key: content[key] for key in ("image_size", "num_channels") if key in content}
    plain |= {"backbone": f"hf:{BACKBONE}", "options": size | {"pool": encoder.pool}}
    return plain, json.dumps(content, indent=1)
