"""What schedulers end: those that fall behind, at the rungs and steps that they say, and nothing when told again."""

import pytest

from pipelines.case.load import load_case
from pipelines.search.schedulers import AsyncHalving, Hyperband, MedianRule, NoScheduler, scheduler_of


def test_halving_lets_the_best_in_four_go_on_from_every_rung():
    scheduler = AsyncHalving(grace_steps=10, reduction=4, steps=400)
    assert scheduler.rungs == [10, 40, 160]
    # The best come first: each that follows is worse than a quarter of those before it.
    answers = [scheduler.report(trial, 10, 1 - trial / 100) for trial in range(100)]
    assert answers[:3] == [None] * 3, "there is nothing to compare with yet"
    going_on = [trial for trial, answer in enumerate(answers) if answer is None]
    assert len(going_on) <= 28
    assert set(range(3)) <= set(going_on)
    assert scheduler.report(50, 20, 0.9) == answers[50], "who has been ended stays ended"
    assert all(scheduler.report(trial, 39, 0.0) is None for trial in going_on), "between rungs nobody is judged"
    assert scheduler.report(going_on[0], 10, 0.0) is None, "nor twice at one rung"


def test_what_was_decided_before_is_noted_and_not_decided_again():
    before, after = (AsyncHalving(4, 2, 64) for _ in range(2))
    told = [(trial, step, (trial * 7 % 11) / 11) for trial in range(11) for step in (4, 8, 16)]
    ended = {}
    for trial, step, score in told:
        if trial not in ended and (answer := before.report(trial, step, score)):
            ended[trial] = answer
    assert ended
    for trial, step, score in told:
        assert after.report(trial, step, score, judged=False) is None
    assert after.report(20, 4, -1.0) is not None, "what was noted counts for those that come"


def test_hyperband_begins_to_judge_some_trials_later():
    scheduler = Hyperband(grace_steps=4, reduction=4, steps=64)
    answers = [scheduler.report(trial, 4, 1 - trial / 1000) for trial in range(100)]
    ended = [trial for trial, answer in enumerate(answers) if answer]
    assert ended
    late = [trial for trial in range(100) if trial % 5 == 4]  # one in five is of the second bracket
    assert not set(late) & set(ended)
    assert any(scheduler.report(trial, 16, 1 - trial / 1000) for trial in late)


def test_the_median_rule_compares_at_the_same_step_and_after_the_grace():
    rule = MedianRule(grace_steps=8, least=3)
    for trial in range(5):
        assert rule.report(trial, 4, 0.5 + trial / 10) is None
    assert rule.report(5, 4, 0.0) is None, "within the grace"
    for trial in range(5):
        rule.report(trial, 8, 0.5 + trial / 10)
    assert rule.report(5, 8, 0.1) is not None
    assert rule.report(6, 4, 0.0) is None
    assert rule.report(6, 8, 0.9) is None, "its best so far counts"


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ([], NoScheduler),
        (["training.validation.every_steps=10"], AsyncHalving),
        (["training.validation.every_steps=10", "tuning.scheduler=none"], NoScheduler),
        (["training.validation.every_steps=10", "tuning.scheduler=median"], MedianRule),
        (["training.validation.every_steps=10", "tuning.scheduler=hyperband"], Hyperband),
    ],
)
def test_asha_is_the_default_where_trials_validate(settings, kind):
    assert type(scheduler_of(load_case("digits", settings))) is kind
