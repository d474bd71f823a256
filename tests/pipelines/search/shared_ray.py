"""Two searches at once on one Ray of two real nodes, one of which is killed; then a driver is killed, and stopped.

A program, for a Ray of its own: ``python -m tests.pipelines.search.shared_ray FOLDER``; prints what came of it as JSON.
Trainings stand still in their middle until they are let go on, so whatever is killed is at work.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from pipelines.case.load import load_case
from pipelines.search.store import SearchStore, search_folder
from pipelines.search.tune import space_of
from tests.commands import environment
from tests.processes import wait_until
from tests.standing_backbone import permit, standing

_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_LONGEST_S = 400


def settings_of(folder, name, search_seed):
    """Return what a search of the digits sets; the two differ in what is drawn."""
    space = "{training.optimizer.lr: {loguniform: [0.001, 0.01]}, dm.weight: {uniform: [0, 1]}}"
    tuning = {"trials": 4, "seeds": [0], "fresh_seeds": 1, "search": "random", "scheduler": "none", "concurrency": 2}
    options = f"{{gate: '{folder / name}', at: 30}}"
    return [
        f"storage.path={folder / 'store'}",
        f"network={{backbone: 'tests.standing_backbone:StandingBackbone', options: {options}}}",
        "training.steps=50",
        "training.validation.every_steps=10",
        "training.checkpoints.every_steps=20",
        "evaluation.replicates=50",
        "tuning.objective=mean",
        f"tuning.space={space}",
        f"tuning.search_seed={search_seed}",
        *(f"tuning.{name}={value}" for name, value in tuning.items()),
    ]


class OneSearch:
    """A search by name, and the process that is at it."""

    def __init__(self, folder, name, search_seed, address):
        self.settings, self.gate = settings_of(folder, name, search_seed), folder / name
        self.case = load_case("digits", self.settings)
        self.folder = search_folder(self.case, {key: of.as_dict() for key, of in space_of(self.case).items()})
        self._log = folder / f"{name}.log"
        self._environment = environment() | _ENVIRONMENT | {"RAY_ADDRESS": address}

    def start(self):
        command = [sys.executable, "-m", "pipelines", "tune", "digits", "--json"]
        command += [f"--set={setting}" for setting in self.settings]
        with self._log.open("w") as log:
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=subprocess.STDOUT)

    def goes_on(self, count):
        """Let so many trainings go on, and wait until both workers stand in the middle of others."""
        permit(self.gate, count)
        lives = lambda: self.process.poll() is None  # noqa: E731
        wait_until(lambda: standing(self.gate) == 2, f"both stand: {self.said()}", _LONGEST_S, lives)

    def said(self):
        return self._log.read_text()[-3000:]

    def ended(self):
        return sum(of.has_ended for of in SearchStore(self.folder).read_trials())

    def made(self):
        """Return when each run was made that has come to its end."""
        return {str(file): file.stat().st_mtime_ns for file in Path(self.folder).glob("trials/*/runs/**/run.json")}


def main(folder):
    os.environ.update(_ENVIRONMENT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in a shell's background, it is ignored
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        print(json.dumps(_search(cluster, folder)))
    finally:
        cluster.shutdown()


def _search(cluster, folder):
    second = cluster.add_node(num_cpus=2)
    one, other = searches = [OneSearch(folder, name, seed, cluster.address) for seed, name in enumerate("ab")]
    made, ended = {}, []

    def note():
        ended.append([search.ended() for search in searches])
        for search in searches:
            made.update({file: when for file, when in search.made().items() if file not in made})

    one.start()
    one.goes_on(3)
    other.start()
    other.goes_on(3)
    note()
    cluster.remove_node(second, allow_graceful=False)  # SIGKILL, with the workers that it has
    # A worker ends when it has noticed; until then it would take what lets the others go on.
    wait_until(lambda: standing(one.gate) + standing(other.gate) == 2, "the workers of the node end", _LONGEST_S)
    cluster.add_node(num_cpus=2)
    one.goes_on(1)
    note()
    one.process.send_signal(signal.SIGKILL)
    one.process.wait()
    wait_until(lambda: standing(one.gate) == 0, "the workers of the driver end", _LONGEST_S)
    one.start()
    one.goes_on(1)
    note()
    one.process.send_signal(signal.SIGINT)
    cut = one.process.wait(_LONGEST_S), one.said()
    note()
    one.start()
    for search in searches:
        permit(search.gate, 50)
    codes = [search.process.wait(_LONGEST_S) for search in searches]
    again = [file for search in searches for file, when in search.made().items() if made.get(file, when) != when]
    return {
        "cut": cut,
        "codes": codes,
        "said": [search.said() for search in searches],
        "folders": [search.folder for search in searches],
        "ended": ended,
        "noted": len(made),
        "again": again,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
