"""Batches made ahead: the same ones in the same order, and an error where its batch would be."""

import threading

import pytest

from pipelines.train.prefetch import prefetch


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
