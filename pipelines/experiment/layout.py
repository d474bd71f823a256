"""Where things lie below storage.path. What depends on settings lies in a folder named by their fingerprint.

::

    sources/<embedded>/                          data written from an installed library
    blocks/<case>-<fingerprint>.json             what a case's last ingest came to: a manifest a dataset
    blocks/<dataset>-<fingerprint>/             its blocks; storage.blocks may put all of blocks/ elsewhere
        <chunk>.arrow, .inputs.arrow, .json      a block, its rows' stamps and digests, and what came of it
        manifest.json, quarantine.parquet
    inspect/<case>.png                           images with their labels: what `kindred inspect` draws
    <case>-<fingerprint>/                        an experiment: one case with its settings
        case.yaml, data_sets.json                the case, complete in itself, and the blocks it trains on
        runs/<arm>/<network>/seed-<k>/           model.safetensors, history.parquet, run.json
            log.jsonl                            what is seen of it as it trains: a line of JSON each time
            validation.parquet, tensorboard/     where the case validates; where it logs to TensorBoard
            checkpoints/                         while it trains: what it goes on from when it is killed
            failure.json                         why it failed last, if it did
        wandb/, .ray/                            what Weights & Biases and Ray keep for themselves
        results.json, report.html
        relate/<from>-to-<to>.yaml, .png             how two tasks relate: what `kindred relate` estimated
        tuning/<fingerprint>/                    what `kindred tune` found: <case>-tuned.yaml, trials.json
"""

from pipelines.base.fingerprint import fingerprint
from pipelines.base.storage import join
from pipelines.case.case import Case

CASE_FILE, DATA_SETS = "case.yaml", "data_sets.json"

# What a run's numbers do not depend on, but for the rounding of sums: a run may go on with others.
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


def sheet_file(case: Case) -> str:
    """Return where `kindred inspect` draws images with their labels."""
    return join(case.storage.path, "inspect", f"{case.name}.png")


def experiment_folder(case: Case) -> str:
    """Return the folder, a path or a URL, of a case with its settings; what the runs do not depend on makes none."""
    apart = {"storage", "logging", "tuning", "evaluation"} | ({"data_root"} if case.embedded else set())
    settings = case.model_dump(mode="json", by_alias=True, exclude=apart)
    for key in WHO_TRAINS:
        del settings["training"][key]
    return join(case.storage.path, f"{case.name}-{fingerprint(settings)}")
