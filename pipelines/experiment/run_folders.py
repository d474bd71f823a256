"""The folders of an experiment's runs, as they lie there, whatever its case says."""

from collections.abc import Iterator

from pipelines.base.storage import join, list_folder
from pipelines.experiment.layout import RUNS


def run_folders(experiment: str) -> Iterator[str]:
    """Yield the folder of every run that was begun: runs/<arm>/<network>/seed-<k>."""
    runs = join(experiment, RUNS)
    for arm in list_folder(runs):
        for network in list_folder(join(runs, arm)):
            for seed in list_folder(join(runs, arm, network)):
                yield join(runs, arm, network, seed)
