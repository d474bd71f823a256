"""The storage layout below storage.path; folders that depend on settings are named by their fingerprint.

::

    sources/<embedded>/                          data written from an installed library
    blocks/<case>-<fingerprint>.json             the case's last ingest: one manifest per dataset
    blocks/<dataset>-<fingerprint>/              its blocks; storage.blocks may put all of blocks/ elsewhere
        <chunk>.arrow, .inputs.arrow, .json      a block, its rows' version tags and digests, its counts
        manifest.json, quarantine.parquet
    .finished/                                   what `kindred run` needs to see that nothing has changed
    inspect/<case>.png                           images with their labels: what `kindred inspect` draws
    <case>-<fingerprint>/                        an experiment: one case with its settings
        case.yaml, data_sets.json                the case, self-contained, and the blocks it trains on
        experiment.json                          the names of its runs
        .training.json                           who trains it, while somebody does
        runs/<arm>/<network>/seed-<k>/           model.safetensors, history.parquet, run.json
            log.jsonl                            metrics and events as it trains, as JSON Lines
            validation.parquet, tensorboard/     if the case validates; if it logs to TensorBoard
            checkpoints/                         while it trains: what it resumes from
            final/                               its state at the end, from which more steps go on
            failure.json                         why it failed last, if it did
        wandb/, .ray/                            what Weights & Biases and Ray keep for themselves
        results.json, report.html
        predictions.parquet                      what every arm says of every test input, beside the truth
        relate/<from>-to-<to>.yaml, .png         how two tasks relate: what `kindred relate` estimated
        tuning/<fingerprint>/                    a search of `kindred tune` (see search/store.py): <case>-tuned.yaml
"""

from typing import Any

from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import join
from pipelines.case.case import Case
from pipelines.case.network import without_place

CASE_FILE, DATA_SETS, EXPERIMENT, RUNS = "case.yaml", "data_sets.json", "experiment.json", "runs"

# Settings that change a run's numbers only by the rounding of sums, so a run may be resumed with other values of them.
WHO_TRAINS = (
    "workers",
    "resize_every_s",
    "max_failures",
    "checkpoints",
    "accumulate",
    "compile",
    "channels_last",
    "shard",
    "loader_threads",
    "data",
)

_PREDICTS = ("infer", "fuse")


def sheet_file(case: Case) -> str:
    """Return where `kindred inspect` draws images with their labels."""
    return join(case.storage.path, "inspect", f"{case.name}.png")


def experiment_folder(case: Case) -> str:
    """Return the folder, a path or a URL, of a case with its settings; what the runs do not depend on makes none.

    Of a case that was read from an experiment's folder, it is that folder.
    """
    if case.experiment is not None:
        return case.experiment
    excluded = {"storage", "logging", "tuning", "evaluation"} | (set() if case.needs_data_root else {"data_root"})
    settings = case.model_dump(mode="json", by_alias=True, exclude=excluded)
    if case.evaluation.metrics:  # validation scores by them, and may choose the weights
        settings["metrics"] = case.evaluation.model_dump(mode="json")["metrics"]
    for key in WHO_TRAINS:
        del settings["training"][key]
    settings["network"] = without_place(settings["network"])
    # Neither how an arm predicts nor an arm that shares another's networks changes what is trained.
    arms = {name: arm for name, arm in settings["arms"].items() if case.trained_as(name) == name}
    settings["arms"] = {name: _trains(arm) for name, arm in arms.items()}
    return join(case.storage.path, f"{case.name}-{fingerprint(settings)}")


def _trains(arm: dict[str, Any]) -> dict[str, Any]:
    """Return what of an arm its runs depend on."""
    network = arm["network"] and without_place(arm["network"])
    return {key: value for key, value in without_place(arm).items() if key not in _PREDICTS} | {"network": network}
