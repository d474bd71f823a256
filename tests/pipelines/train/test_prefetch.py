"""Batches made ahead: the same ones in the same order, and an error where its batch would be."""

import os
import threading
from dataclasses import replace

import pytest
import torch

from pipelines.case.load import load_case
from pipelines.train.prefetch import loader_threads, prefetch
from pipelines.train.worker import Worker


def test_every_number_once_in_order_and_one_ahead():
    made, first_asked = [], threading.Event()

    def make(number):
        made.append(number)
        if number == 1:
            first_asked.set()
        return number * 10

    batches = prefetch(make, range(5))
    assert next(batches) == 0
    assert first_asked.wait(30), "the next one is made before it is asked for"
    assert list(batches) == [10, 20, 30, 40]
    assert made == [0, 1, 2, 3, 4]
    assert list(prefetch(make, range(3, 3))) == []


@pytest.mark.parametrize(("ahead", "threads"), [(1, 1), (3, 2), (4, 4), (9, 3)])
def test_any_number_of_threads_yields_the_same_in_the_same_order(ahead, threads):
    last_first = threading.Event()

    def make(number):
        if threads > 1 and number == 0:
            assert last_first.wait(30), "another thread makes the next one meanwhile"
        last_first.set()
        return number * 10

    if threads == 1:
        last_first.set()
    assert list(prefetch(make, range(7), ahead=ahead, threads=threads)) == [0, 10, 20, 30, 40, 50, 60]


def test_the_threads_that_read_follow_the_machine_on_a_gpu_alone():
    case = load_case("digits")
    processors = len(os.sched_getaffinity(0))
    on_gpu = Worker(device=torch.device("cuda"), local_workers=1)
    assert loader_threads(case.training, Worker()) == 1
    assert loader_threads(case.training, on_gpu) == max(1, min(8, processors - 1))
    assert loader_threads(case.training, replace(on_gpu, local_workers=processors)) == 1
    assert loader_threads(load_case("digits", ["training.loader_threads=3"]).training, Worker()) == 3


def test_an_error_comes_where_its_batch_would():
    batches = prefetch(lambda number: 1 // (2 - number), range(5))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(batches)


def test_closing_early_leaves_no_thread():
    batches = prefetch(lambda number: number, range(100))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
