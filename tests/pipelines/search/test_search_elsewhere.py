"""A search whose driver is killed as systems kill, and one whose records lie in a bucket that fails now and then."""

import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.case.load import load_case
from pipelines.ingest.ingest import ingest, ingested
from pipelines.search.job import work_here
from pipelines.search.score import read_counts
from pipelines.search.search import Search
from pipelines.search.store import SearchStore
from pipelines.search.tune import space_of
from tests.object_storage import CREDENTIALS, make_bucket, proxy, s3_server, url_at
from tests.pipelines.search.simulated import Events, search_of, simulated_case, work

ROOT = Path(__file__).parents[3]
# Each search is a process of its own, of one program that has imported everything; it tells every write of a record,
# and is killed at whatever it is at when so many have been told.
DRIVERS = """
import os, signal, sys
from pipelines.search.store import SearchStore
from tests.pipelines.search.simulated import Events, search_of, simulated_case, work
class Telling(SearchStore):
    def write_trial(self, record):
        super().write_trial(record)
        os.write(tell, b".")
for left in map(int, sys.argv[2:]):
    told, tell = os.pipe()
    driver = os.fork()
    if not driver:
        work(search_of(simulated_case(), sys.argv[1], store=Telling), Events(), workers=1)
        os._exit(0)
    os.close(tell)
    while left and (read := os.read(told, left)):
        left -= len(read)
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    os.close(told)
    assert not left, "it had ended before"
"""


def found_in(folder):
    return {of.number: (of.settings, of.state, of.score, of.seeds) for of in SearchStore(str(folder)).read_trials()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    work(search_of(simulated_case(), folder), Events(), workers=1)
    return found_in(folder)


def test_a_driver_that_is_killed_five_times_at_random_moments_is_gone_on_from(undisturbed, tmp_path):
    writes = [str(random.randrange(2, 16)) for _ in range(5)]  # of 98 in all
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVERS, str(tmp_path), *writes]
    killed = subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True)
    assert killed.returncode == 0, (writes, killed.stderr)
    before = {number: of for number, of in found_in(tmp_path).items() if of[1] in ("finished", "stopped")}
    assert before
    search, events = search_of(simulated_case(), tmp_path), Events()
    work(search, events, workers=1)
    assert found_in(tmp_path) == undisturbed, writes
    repeated = {number for number, seed in events.scored() if number in before and seed < before[number][3]}
    assert not repeated, "what was finished is never run again"


def test_records_in_a_bucket_that_fails_every_tenth_request_are_the_same(undisturbed, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as port:
        make_bucket(port, "pets")
        with proxy(port, fail_every=10) as passing:
            url = url_at(passing.port, "pets/search", anonymous=False)
            events = Events()
            half = search_of(simulated_case("tuning.trials=4"), url)
            work(half, events, workers=1)
            half.close(over=True)
            search = search_of(simulated_case(), url)
            work(search, events, workers=1)
            found = found_in(url)
        assert passing.failed.total() > 5
    assert sorted(found) == sorted(undisturbed)
    assert {number: of[:3] for number, of in found.items() if of[1] == "stopped"}
    assert all(of[1] in ("finished", "stopped") for of in found.values())
    assert all(events.scored().count(event) == 1 for event in events.scored() if event[1] < 3)


def test_trials_in_a_bucket_that_fails_every_tenth_request_come_to_what_they_do_on_a_disk(
    digits_store, ray_local, tmp_path, monkeypatch
):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    sets = [f"storage.path={digits_store}", "training.steps=15", "training.validation.every_steps=5"]
    sets += ["training.checkpoints.every_steps=8", "evaluation.replicates=50", "tuning.objective=mean"]
    # One network for one task, and so no baselines beside the two trials.
    sets += ["arms={alone: {matching: none, tasks: digit}}", "tuning.arm=alone", "evaluation.baseline=alone"]
    sets += ["tuning.space={training.optimizer.lr: {choice: [0.001, 0.002]}}", "evaluation.main_task=digit"]
    sets += ["tuning.trials=1", "tuning.seeds=[0]", "tuning.fresh_seeds=1", "tuning.search=random"]
    case = load_case("digits", sets)
    ingest(case)
    data_sets = ingested(case).of_split("train", "validation")

    def searched(folder):
        store = SearchStore(folder)
        work_here("worker", Search(case, space_of(case), store), case, data_sets, store)
        trials = [replace(of, seconds=0.0, ended=None) for of in store.read_trials()]
        counts = [read_counts(store.trial_folder(of.number), 0) for of in trials]
        return trials, [counted.scores for counted in counts if counted], store.read_state()

    with s3_server() as port:
        make_bucket(port, "pets")
        with proxy(port, fail_every=10) as passing:
            found = searched(url_at(passing.port, "pets/search", anonymous=False))
        assert passing.failed.total() > 3
    expected = searched(str(tmp_path))
    assert found[:2] == expected[:2]
    assert [of.state for of in found[0]] == ["finished", "finished"]
    assert found[2].fresh == expected[2].fresh
