"""What a search's workers ask Ray for, and how many trials find room: of GPUs this needs none to be there."""

import pytest

from pipelines.case.load import load_case
from pipelines.search.search import gpus_of_trial
from pipelines.search.workers import trials_that_fit, worker_request

PLENTY = {"CPU": 64.0, "GPU": 2.0, "memory": float(1 << 40)}


def case_of(*more):
    return load_case("digits", list(more))


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, 2), (0.5, 4), (0.25, 8), (0.1, 20), (0.4, 4), (0.7, 2)],  # a share is of one GPU: what is left of it is none
)
def test_small_trials_share_a_gpu_as_far_as_it_has_room(share, expected):
    case = case_of("training.device=cuda", f"tuning.gpus_per_trial={share}")
    assert worker_request(case) == {"num_cpus": 1, "num_gpus": share}
    assert trials_that_fit(case, PLENTY) == expected


def test_trials_of_several_workers_take_whole_gpus_which_their_trainer_asks_for():
    case = case_of("training.device=cuda", "training.workers=2", "tuning.gpus_per_trial=0.25")
    assert worker_request(case) == {"num_cpus": 0, "num_gpus": 0}
    assert gpus_of_trial(case) == 2
    assert trials_that_fit(case, PLENTY | {"GPU": 8.0}) == 4


def test_processors_and_memory_bound_how_many_trials_run_and_one_always_does():
    case = case_of("training.threads_per_worker=2")
    assert worker_request(case) == {"num_cpus": 2, "num_gpus": 0}
    assert trials_that_fit(case, PLENTY) == 32
    assert trials_that_fit(case, PLENTY | {"memory": 3.5 * (1 << 30)}) == 3
    assert trials_that_fit(case, {"CPU": 1.0, "memory": 1.0}) == 1


def test_hours_of_gpus_are_those_of_the_share_that_a_trial_has(tmp_path):
    from pipelines.search.search import Search
    from pipelines.search.store import SearchStore
    from pipelines.search.tune import space_of

    more = ["training.device=cuda", "tuning.gpus_per_trial=0.25", "tuning.gpu_hours=1", "tuning.seeds=[0]"]
    case = case_of(*more, "tuning.search=random", "tuning.objective=mean")
    search = Search(case, space_of(case), SearchStore(str(tmp_path)))
    for hours in (1.0, 1.0, 1.0, 0.9):  # of the GPU a quarter each: 0.975 in all
        job = search.next("worker")
        search.scored(job, 0, {"digit": 0.5, "traits": 0.5}, {}, hours * 3600)
    job = search.next("worker")
    assert job.number == 4
    search.scored(job, 0, {"digit": 0.5, "traits": 0.5}, {}, 0.2 * 3600)
    assert {of.number for of in search.store.read_trials()} == {0, 1, 2, 3, 4}
    search.next("worker")
    assert {of.number for of in search.store.read_trials()} == {0, 1, 2, 3, 4}, "none begins after the hour"
