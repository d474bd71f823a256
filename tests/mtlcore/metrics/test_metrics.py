"""Every metric is the float64 NumPy reference's, over annotated entries alone, whatever is missing."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtlcore import (
    LOWER_IS_BETTER,
    METRICS,
    Interval,
    Multiclass,
    Multilabel,
    bootstrapped_delta_m,
    delta_m,
    negative_transfer_verdict,
    paired_difference,
    primary_metric,
    task_metrics,
)
from tests.mtlcore.metrics import metrics_reference as reference


def names(n):
    return tuple(f"n{i}" for i in range(n))


@st.composite
def problems(draw):
    """Logits in float32, coarse enough for ties, and labels of which some, or all, are missing."""
    kind = draw(st.sampled_from([Multiclass, Multilabel]))
    inputs, outputs = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    random = np.random.Generator(np.random.PCG64(draw(st.integers(0, 2**32 - 1))))
    z = (random.normal(size=(inputs, outputs)) * draw(st.sampled_from([0.1, 5.0]))).astype(np.float32)
    # the same inputs again and again, so that some tie
    z = z[random.integers(inputs, size=inputs)] if draw(st.booleans()) else z
    multiclass = kind is Multiclass
    y = random.integers(outputs if multiclass else 2, size=inputs if multiclass else (inputs, outputs))
    y[random.random(y.shape) < draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))] = -1
    return z, y, kind("t", names(outputs))


def assert_is_the_reference(z, y, task):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = task_metrics(torch.from_numpy(z), torch.from_numpy(y), task)
    expected = reference.multiclass(z, y) if isinstance(task, Multiclass) else reference.multilabel(z, y)
    assert tuple(found) == METRICS
    assert found == pytest.approx(expected, abs=2e-6, nan_ok=True)
    assert all(0 <= value <= 1 or math.isnan(value) for value in found.values())


@settings(deadline=None, max_examples=150)
@given(problems())
def test_metrics_are_the_reference(problem):
    assert_is_the_reference(*problem)


@pytest.mark.parametrize(
    ("z", "y", "task"),
    [
        ([[1.0, 2.0]], [1], Multiclass("one input", names(2))),
        ([[1.0, 2.0], [0.5, 3]], [-1, -1], Multiclass("nothing annotated", names(2))),
        ([[1.0], [2.0]], [0, -1], Multiclass("one class", names(1))),
        ([[1.0, 2.0, 4.0], [3, 2, 1]], [1, 0], Multiclass("predicted and never true", names(3))),
        ([[1.0, 2.0]], [[0, 1]], Multilabel("one input", names(2))),
        ([[1.0, 2.0]], [[-1, -1]], Multilabel("nothing annotated", names(2))),
        ([[1.0], [2.0], [-1.0]], [[1], [0], [-1]], Multilabel("binary", names(1))),
        ([[1.0, 2.0], [-2.0, 1.0]], [[0, 1], [0, 0]], Multilabel("a label without a positive", names(2))),
        ([[1.0, 2.0], [-2.0, 1.0]], [[0, 0], [0, 0]], Multilabel("no positive at all", names(2))),
        ([[1.0, 2.0], [-2.0, 1.0]], [[1, -1], [0, -1]], Multilabel("a label without an annotation", names(2))),
        ([[1e4, -1e4], [-1e4, 1e4]], [[1, 1], [0, 0]], Multilabel("sure and half wrong", names(2))),
        ([[10.0], [38.0], [-38.0]], [[1], [0], [1]], Multilabel("a probability of exactly 1", names(1))),
        ([[10.0, 0.0], [38.0, 0.0], [38.0, 0.0]], [0, 1, 0], Multiclass("a probability of exactly 1", names(2))),
        ([[1e4, -1e4], [-1e4, 1e4]], [0, 0], Multiclass("sure and half wrong", names(2))),
    ],
    ids=lambda value: value.name if isinstance(value, Multiclass | Multilabel) else "",
)
def test_edge_cases_are_the_references_without_a_warning(z, y, task):
    with np.errstate(over="ignore"):
        assert_is_the_reference(np.array(z, dtype=np.float32), np.array(y), task)


def test_labels_of_a_multilabel_task_may_be_int8_as_they_are_stored():
    z, y = torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.tensor([[1, 0], [-1, 1]])
    task = Multilabel("t", names(2))
    assert task_metrics(z, y.to(torch.int8), task) == task_metrics(z, y, task)


def test_inputs_with_the_same_logit_tie_whatever_their_place():
    """torch.sigmoid may give them different values, since it works on several at a time and on what is left over."""
    label = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    z = np.full((10, 1), -14.265506, dtype=np.float32)
    for place in range(10):
        found = task_metrics(
            torch.from_numpy(z), torch.from_numpy(np.roll(label, place)[:, None]), Multilabel("t", names(1))
        )
        assert found["macro_average_precision"] == pytest.approx(0.1)


def test_average_precision_ranks_classes_whose_softmax_is_1_to_the_last_digit():
    """The sure input is right and the one that is less sure wrong, each with a probability of exactly 1 in float64."""
    z, y = torch.tensor([[900.0, 0.0, -5.0], [50.0, 0.0, -5.0], [60.0, 0.0, 10.0]]), torch.tensor([0, 1, 0])
    assert z.double().softmax(dim=1)[:, 0].tolist() == [1, 1, 1]
    found = task_metrics(z, y, Multiclass("t", names(3)))
    assert found["macro_average_precision"] == pytest.approx((1 + 1) / 2)


def test_missing_entries_change_nothing():
    z = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (30,), generator=torch.Generator().manual_seed(1))
    task = Multiclass("t", names(3))
    more = torch.cat([y, torch.full((9,), -1)])
    assert task_metrics(torch.cat([z, 9 * z[:9]]), more, task) == task_metrics(z, y, task)


def test_a_calibrated_network_has_no_calibration_error_and_an_overconfident_one_has_it():
    """It says 0.8 of every input and is right in 8 of 10; then it says the same in logits three times as sure."""
    z = torch.tensor([[math.log(4.0), 0.0]] * 10)
    y = torch.tensor([0] * 8 + [1] * 2)
    task = Multiclass("t", names(2))
    assert "calibration_error" in LOWER_IS_BETTER
    assert task_metrics(z, y, task)["calibration_error"] == pytest.approx(0, abs=1e-6)
    assert task_metrics(3 * z, y, task)["calibration_error"] == pytest.approx(64 / 65 - 0.8, abs=1e-6)


def test_a_label_stated_too_often_and_one_too_seldom_do_not_cancel():
    z, y = torch.zeros(10, 2), torch.tensor([[1, 0]] * 10)
    assert task_metrics(z, y, Multilabel("t", names(2)))["calibration_error"] == pytest.approx(0.5)


def test_a_label_without_an_annotated_entry_takes_no_part_in_the_difference_either():
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    y = torch.randint(0, 2, (20, 3), generator=torch.Generator().manual_seed(3))
    y[:, 1] = -1
    task, kept = Multilabel("t", names(3)), Multilabel("t", ("n0", "n2"))
    assert task_metrics(z, y, task) == task_metrics(z[:, ::2], y[:, ::2], kept)
    assert paired_difference([z], [-z], y, task) == paired_difference([z[:, ::2]], [-z[:, ::2]], y[:, ::2], kept)


def test_delta_m_is_the_mean_relative_gain_and_an_error_counts_the_other_way():
    scores, baseline = {"a": 0.6, "b": 0.9}, {"a": 0.5, "b": 1.0}
    assert delta_m(scores, baseline) == pytest.approx((0.2 - 0.1) / 2)
    assert delta_m(scores, baseline, lower_is_better={"b"}) == pytest.approx((0.2 + 0.1) / 2)
    assert delta_m(baseline, baseline) == 0
    assert math.isnan(delta_m({"a": 0.6, "b": 0.9}, {"a": 0.5, "b": 0.0}))
    assert math.isnan(delta_m({"a": math.nan}, {"a": 0.5}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"a": 1.0}, {"b": 1.0}), r"found tasks \['b'\]"),
        (({}, {}), "one at least"),
        (({"a": 1.0}, {"a": -1.0}), "negative score of 'a'"),
    ],
)
def test_delta_m_of_other_tasks_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        delta_m(*arguments)


CLASSES, TRAITS = Multiclass("c", names(3)), Multilabel("l", names(2))


def two_tasks(seed, inputs=60):
    """Two tasks of the same inputs, three seeds; arms that differ."""
    random = torch.Generator().manual_seed(seed)
    labels = {
        "c": torch.randint(0, 3, (inputs,), generator=random),
        "l": torch.randint(-1, 2, (inputs, 2), generator=random),
    }
    arm, baseline = (
        {
            "c": [torch.randn(inputs, 3, generator=random) for _ in range(3)],
            "l": [torch.randn(inputs, 2, generator=random) for _ in range(3)],
        }
        for _ in range(2)
    )
    return arm, baseline, labels


def test_the_bootstrapped_delta_m_is_that_of_the_mean_metrics():
    arm, baseline, labels = two_tasks(0)
    inputs = {"c": torch.arange(60), "l": torch.arange(30, 90)}
    means = [
        {
            task.name: np.mean([task_metrics(z, labels[task.name], task)[primary_metric(task)] for z in of[task.name]])
            for task in (CLASSES, TRAITS)
        }
        for of in (arm, baseline)
    ]
    found = bootstrapped_delta_m(arm, baseline, labels, inputs, [CLASSES, TRAITS], replicates=100)
    assert found.value == pytest.approx(delta_m(*means), rel=1e-5)
    assert found.low < found.value < found.high


def test_the_same_arm_twice_has_a_delta_m_of_exactly_nothing():
    arm, _, labels = two_tasks(1)
    inputs = {name: torch.arange(60) for name in labels}
    assert bootstrapped_delta_m(arm, arm, labels, inputs, [CLASSES, TRAITS], replicates=20) == Interval(0, 0, 0)


def test_inputs_that_serve_several_tasks_are_drawn_for_all_of_them():
    """Two tasks that are right on the same inputs: over shared inputs the interval is one task's, over inputs of
    their own it is narrower by about the square root of two."""
    y = torch.zeros(200, dtype=torch.long)
    right = torch.tensor([[1.0, 0.0]] * 200)
    half = right.clone()
    half[::2] = half[::2].flip(1)
    tasks = [Multiclass(name, names(2)) for name in "ab"]
    arm, baseline, labels = (dict.fromkeys("ab", what) for what in ([right], [half], y))

    def width(inputs, of=tasks):
        found = bootstrapped_delta_m(arm, baseline, labels, inputs, of, replicates=1500)
        return found.high - found.low

    one = width({"a": torch.arange(200)}, tasks[:1])
    shared = width({name: torch.arange(200) for name in "ab"})
    apart = width({"a": torch.arange(200), "b": torch.arange(200, 400)})
    assert one > 0.1
    assert shared == pytest.approx(one)
    assert apart == pytest.approx(one / 2**0.5, rel=0.15)


def test_seeds_are_drawn_once_for_all_tasks():
    """A seed that is good at one task is as bad at the other: over seeds Delta_m does not move at all."""
    y = torch.zeros(10, dtype=torch.long)
    right = torch.tensor([[1.0, 0.0]] * 10)
    tasks = [Multiclass(name, names(2)) for name in "ab"]
    arm = {"a": [right, -right], "b": [-right, right]}
    found = bootstrapped_delta_m(
        arm, {"a": [right] * 2, "b": [right] * 2}, {"a": y, "b": y}, {"a": torch.arange(10), "b": torch.arange(10)},
        tasks, replicates=50,
    )  # fmt: skip
    assert found == Interval(-0.5, -0.5, -0.5)


def test_what_cannot_be_paired_is_refused():
    arm, baseline, labels = two_tasks(2)
    inputs = {name: torch.arange(60) for name in labels}
    tasks = [CLASSES, TRAITS]
    with pytest.raises(ValueError, match="baseline: found 2 seeds of 'l' and 3 of 'c'"):
        bootstrapped_delta_m(arm, baseline | {"l": baseline["l"][:2]}, labels, inputs, tasks)
    with pytest.raises(ValueError, match="inputs: found one twice in 'c'"):
        bootstrapped_delta_m(arm, baseline, labels, inputs | {"c": torch.zeros(60, dtype=torch.long)}, tasks)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.02, "better"),
        (-0.02, -0.01, "worse"),
        (-0.01, 0.01, "no clear difference"),
        (0.0, 0.1, "no clear difference"),
        (-0.1, 0.0, "no clear difference"),
        (0.0, 0.0, "no clear difference"),
    ],
)
def test_it_is_negative_transfer_where_the_whole_interval_lies_below_nothing(low, high, verdict):
    assert negative_transfer_verdict(Interval((low + high) / 2, low, high)) == verdict


def test_an_interval_the_wrong_way_round_has_no_verdict():
    for low, high in ((1.0, 0.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="expected low <= high"):
            negative_transfer_verdict(Interval(0.5, low, high))


def test_a_perfect_predictor_scores_1_in_every_macro_metric_also_where_a_label_or_class_is_absent():
    y = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 0, -1]])
    found = task_metrics(torch.where(y == 1, 9.0, -9.0), y, Multilabel("l", ("a", "absent", "b")))
    assert [found[name] for name in METRICS if "macro" in name or "balanced" in name] == [1.0] * 3
    none = torch.zeros(4, 2, dtype=torch.long)
    assert task_metrics(none - 9.0, none, Multilabel("l", ("a", "b")))["macro_f1"] == 1.0
    classes = torch.tensor([0, 2, 2])
    logits = 9.0 * torch.nn.functional.one_hot(classes, 4)
    found = task_metrics(logits, classes, Multiclass("c", ("a", "absent", "b", "also")))
    assert [found[name] for name in METRICS if "macro" in name or "balanced" in name] == [1.0] * 3
