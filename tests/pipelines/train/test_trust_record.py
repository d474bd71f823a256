"""Doubted cells: a run's record has them, results average them over seeds, and a line says what the data show."""

import json

import pytest
import torch

from mtlcore import Multiclass, Multilabel, Relatedness, RelatednessTrust
from pipelines.evaluate.evaluate import _doubted
from pipelines.evaluate.results import DoubtedCell
from pipelines.train.trust_record import trust_record

A, B = Multiclass("species", ("penguin", "crow", "bat")), Multilabel("traits", ("flies", "swims"))


@pytest.fixture
def record():
    """What is told of a table whose penguins fly; bats are never seen, and whether crows swim is not in the table."""
    table = {"penguin": {"flies": 0.95, "swims": 1.0}, "crow": {"flies": 1.0, "swims": 0.0}, "bat": "flies"}
    R = Relatedness.from_rows(A, B, table)
    R.table[1, 1] = torch.nan
    trust = RelatednessTrust([R], {"species": 2, "traits": 2})
    labels = {"species": torch.tensor([0, 1] * 20), "traits": torch.tensor([[0, 1], [1, 0]] * 20)}
    for _ in range(10):
        trust.observe({"species": torch.zeros(40, 2), "traits": torch.zeros(40, 2)}, labels)
    return json.loads(json.dumps(trust_record(trust)))["species->traits"]


def test_a_record_has_every_doubted_cell_with_what_was_observed(record):
    (cell,) = record["doubted"]
    assert (cell["source"], cell["target"], cell["table"], cell["trust"]) == ("penguin", "flies", 0.95, 0.0)
    assert cell["low"] <= cell["observed"] <= cell["high"] < 0.1
    assert record["rows"] == {"penguin": 0.5, "crow": 1.0, "bat": 1.0}


def test_seeds_that_do_not_doubt_a_cell_count_as_trust(record):
    (cell,) = _doubted([record["doubted"]])
    assert str(cell).startswith("penguin, flies: table .95, data .01 [.00, .0")
    (mean,) = _doubted([record["doubted"], record["doubted"], []])
    assert mean.trust == pytest.approx(1 / 3)
    assert (mean.observed, mean.high) == (cell.observed, cell.high)
    assert _doubted([record["doubted"], [], []]) == []


def test_a_doubted_cell_is_told_in_one_line():
    cell = DoubtedCell(source="penguin", target="flies", trust=0, table=0.95, observed=0.03, low=0.01, high=0.08)
    assert str(cell) == "penguin, flies: table .95, data .03 [.01, .08]"
