"""The page of a search: every figure and trial of records made here, in one file."""

import math
import re

import numpy as np
import pytest

from pipelines.search.importance import importances
from pipelines.search.page import render_page, write_page
from pipelines.search.records import Baseline, CurvePoint, SearchRecord, TrialRecord

SPACE = {
    "training.optimizer.lr": {"kind": "loguniform", "low": 1e-4, "high": 1e-2},
    "training.matching.dm.weight": {"kind": "uniform", "low": 0.0, "high": 1.0},
    "training.optimizer.name": {"kind": "choice", "values": ["adamw", "sgd"]},
    "training.optimizer.momentum": {
        "kind": "uniform", "low": 0.5, "high": 0.9, "when": {"training.optimizer.name": ["sgd"]},
    },
}  # fmt: skip


def record_of(n: int, tasks: tuple[str, ...] = ("species", "traits")) -> SearchRecord:
    """A search in which the learning rate decides: the score falls with its distance to 1e-3."""
    draw = np.random.default_rng(0)
    trials = []
    for i, (origin, name) in enumerate((("baseline", "naive"), ("baseline", "single-task"), ("shipped", ""))):
        score = 0.5 + 0.1 * i
        scores = dict.fromkeys(tasks, score)
        trials.append(TrialRecord(i, {}, "finished", score, scores, seeds=3, origin=origin, name=name))
    for i in range(3, 3 + n):
        lr = 10 ** draw.uniform(-4, -2)
        optimizer = ("adamw", "sgd")[i % 2]
        settings = {"training.optimizer.lr": lr, "training.matching.dm.weight": draw.uniform()}
        settings["training.optimizer.name"] = optimizer
        if optimizer == "sgd":
            settings["training.optimizer.momentum"] = draw.uniform(0.5, 0.9)
        score = 0.9 - 0.2 * abs(math.log10(lr) + 3) + 0.005 * draw.normal()
        state = "stopped" if i % 5 == 0 else "failed" if i == 4 else "finished"
        curve = tuple(CurvePoint(step, score * step / 100, {}) for step in (20, 60, 100))
        reason = {"stopped": "step 60", "failed": "<b>NaN</b> in the loss"}.get(state)
        scores = {} if state == "failed" else dict(zip(tasks, (score, 1.4 - score), strict=False))
        trials.append(
            TrialRecord(i, settings, state, None if state == "failed" else score, scores, seeds=1, curve=curve,
                        reason=reason, seconds=9.0, ended=float(i))
        )  # fmt: skip
    chosen = max((of for of in trials if of.state == "finished"), key=lambda of: of.score).number if n else None
    baselines = tuple(
        Baseline(of.name, of.number, of.score, of.scores, dict.fromkeys(tasks, (0.4, 0.7))) for of in trials[:2]
    )
    return SearchRecord("birds", SPACE, "safe", tasks, tuple(trials), baselines, chosen,
                        "Trial wins.\nAgainst naive: better.", 1.0, 2.0, {7: 0.8})  # fmt: skip


def test_the_page_holds_every_trial_and_figure_and_nothing_of_elsewhere(tmp_path):
    record = record_of(40)
    file = write_page(record, str(tmp_path), "birds-tuned.yaml")
    text = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert file == str(tmp_path / "search.html")
    for of in record.trials:
        assert (of.name or ("as it stands" if of.origin == "shipped" else f"trial {of.number}")) in text
    assert text.count("<svg") == 6
    assert "&lt;b&gt;NaN&lt;/b&gt;" in text
    assert "<b>NaN" not in text
    assert "birds-tuned.yaml" in text
    assert not re.search(r'(src|href)="(?!#|data:)', text), "the page needs nothing from elsewhere"


@pytest.mark.parametrize(("trials", "tasks"), [(0, ("species",)), (1, ("species",)), (3, ("a", "b", "c"))])
def test_a_search_of_few_trials_has_a_page(trials, tasks):
    assert "<h1>birds: search</h1>" in render_page(record_of(trials, tasks))


def test_the_key_that_decides_matters_most():
    shares = importances(record_of(60))
    assert next(iter(shares)) == "training.optimizer.lr"
    assert shares["training.optimizer.lr"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)
    assert importances(record_of(5)) == {}
