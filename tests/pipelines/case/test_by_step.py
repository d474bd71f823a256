"""Weights and temperatures by step in a case file: what is read, what is refused, and what stays as it was."""

import json

import pytest
import yaml

from pipelines.base.errors import UserError
from pipelines.case.build import build_loss, weights_at
from pipelines.case.by_step import changes, largest, may_change, value_at
from pipelines.case.load import as_yaml, load_case, load_content
from pipelines.experiment.identity import identity
from pipelines.experiment.layout import experiment_folder
from pipelines.experiment.run import list_runs
from pipelines.search.search_plan import settings_key
from pipelines.search.settings import current_values, with_case_settings

CHANGING = (
    "training.matching={dm: {weight: {0: 0, 10: 0.5, 20: 0.25}, tau: {0: 1, 15: 2}}, sca: {weight: 0.3, tau_co: {0: 1, "
    "20: 0.5}}, ill: {weight: 2}}"
)


def test_a_value_holds_from_its_step_on_until_the_next():
    value = {0: 0.0, 10: 0.5, 20: 0.25}
    assert [value_at(value, step) for step in (0, 9, 10, 19, 20, 10_000)] == [0, 0, 0.5, 0.5, 0.25, 0.25]
    assert value_at(0.3, 7) == 0.3
    assert (largest(value), largest(0.3)) == (0.5, 0.3)
    assert changes([value, 0.3, {0: 1.0, 15: 2.0}]) == [10, 15, 20]


def test_parts_weigh_in_each_step_what_the_case_says_times_their_pairs_weight():
    case = load_case(
        "digits",
        [CHANGING, "relatedness.0.weight={0: 1, 20: 4}", "training.task_weights={traits: {0: 1, 12: 3}}"],
    )
    matching = case.arms["co-trained"].matching
    joint_loss = build_loss(case, list(case.tasks), matching, {})
    names = joint_loss.part_names
    assert "dm:digit->traits" in names, "a loss is there that takes part in some steps"

    def at(step):
        return dict(zip(names, weights_at(case, matching, joint_loss, step), strict=True))

    kinds = ("dm:digit->traits", "sca:digit->traits", "sca:traits->digit", "ill:traits->digit", "digit", "traits")
    assert [[at(step)[kind] for kind in kinds] for step in (0, 12, 20)] == [
        [0, 0.3, 0.3, 2, 1, 1],
        [0.5, 0.3, 0.3, 2, 1, 3],
        [1, 1.2, 1.2, 8, 1, 3],
    ]


def test_a_case_with_values_by_step_is_the_same_when_it_was_written_down():
    case = load_case("digits", [CHANGING])
    again = load_content(yaml.safe_load(as_yaml(case)), "again.yaml", check_paths=False)
    assert again.training == case.training
    assert again.arms == case.arms
    assert again.training.matching.dm.weight == {0: 0.0, 10: 0.5, 20: 0.25}
    assert json.loads(json.dumps(current_values(case, ["training.matching.dm.weight"]))) == {
        "training.matching.dm.weight": {"0": 0.0, "10": 0.5, "20": 0.25}
    }
    tried = with_case_settings(case, {"training.matching.dm.weight": {"0": 0.1, "5": 1}})
    assert tried.arms["co-trained"].matching.dm.weight == {0: 0.1, 5: 1.0}
    assert settings_key({"a": {"0": 1.0}}) == settings_key({"a": {"0": 1}})


def test_what_changes_nothing_is_the_number_and_no_other_experiment():
    plain = load_case("digits", ["training.matching.dm.weight=0.3"])
    for value in ("{0: 0.3}", "{0: 0.3, 7: 0.3}", "{'0': 0.3}"):
        case = load_case("digits", [f"training.matching.dm.weight={value}"])
        assert case.training.matching.dm.weight == 0.3
        assert experiment_folder(case) == experiment_folder(plain)
        assert [identity(case, run) for run in list_runs(case)] == [identity(plain, run) for run in list_runs(plain)]
    other = load_case("digits", ["training.matching.dm.weight={0: 0.3, 7: 0.4}"])
    assert experiment_folder(other) != experiment_folder(plain)


def test_an_arms_values_by_step_stand_in_the_place_of_the_others():
    case = load_case("digits", [CHANGING, "arms.co-trained.matching={dm: {weight: {0: 1, 5: 2}}}"])
    assert case.arms["co-trained"].matching.dm.weight == {0: 1.0, 5: 2.0}
    assert case.arms["co-trained"].matching.dm.tau == {0: 1.0, 15: 2.0}
    assert case.training.matching.dm.weight == {0: 0.0, 10: 0.5, 20: 0.25}


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            "training.matching.dm.weight={5: 1, 9: 2}",
            r"training\.matching\.dm\.weight: found .*; expected a number, or",
        ),
        ("training.matching.dm.weight={0: 1, 9: 2, 4: 3}", r"training\.matching\.dm\.weight: found .*rise from 0"),
        ("training.matching.dm.weight={}", r"training\.matching\.dm\.weight: found {}; expected a number, or"),
        ("training.matching.dm.weight={0: 1, late: 2}", r"training\.matching\.dm\.weight: found .*steps that rise"),
        ("training.matching.dm.weight={0: 1, '0': 2}", r"training\.matching\.dm\.weight: found .*steps that rise"),
        (
            "training.matching.dm.weight={0: 1, 9: -2}",
            r"training\.matching\.dm\.weight: found -2; .*than or equal to 0",
        ),
        ("training.matching.dm.weight=-2", r"training\.matching\.dm\.weight: found -2; .*greater than or equal to 0"),
        ("training.matching.dm.tau={0: 1, 9: 0}", r"training\.matching\.dm\.tau: found 0; .*greater than 0"),
        ("training.matching.dm.tau=true", r"training\.matching\.dm\.tau: found True; expected a number"),
        ("training.matching.dm.weight={0: 1, 300: 2}", r"dm\.weight: found the step 300; .*below training.steps, 300"),
        ("training.task_weights.digit={0: 1, 300: 2}", r"training\.task_weights\.digit: found the step 300"),
        ("relatedness.0.weight={0: 1, 300: 2}", r"relatedness\.0\.weight: found the step 300"),
        ("arms.naive.task_weights={digit: {0: 1, 300: 2}}", r"arms\.naive\.task_weights\.digit: found the step 300"),
        (
            "arms.co-trained.matching={dm: {tau: {0: 1, 300: 2}}}",
            r"arms\.co-trained\.matching\.dm\.tau: found the step",
        ),
        ("training.batch_size={0: 8, 9: 16}", r"training\.batch_size: found"),
        ("training.matching.dm.form={0: full, 9: positive}", r"training\.matching\.dm\.form: found"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_key(setting, told):
    with pytest.raises(UserError, match=told) as refused:
        load_case("digits", ["training.steps=300", setting])
    assert len(str(refused.value).splitlines()) == 1


def test_a_method_that_compares_losses_of_different_steps_refuses_them():
    with pytest.raises(UserError, match=r"dm\.weight: found one that changes with the step, and balancing 'dwa'"):
        load_case("digits", ["training.matching.dm.weight={0: 1, 9: 2}", "training.balancing.method=dwa"])
    load_case("digits", ["training.matching.dm.weight={0: 1, 9: 2}", "training.balancing.method=upgrad"])


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("training.matching.dm.weight", True),
        ("training.matching.own.weight", True),
        ("arms.co-trained.matching.sca.tau_co", True),
        ("training.task_weights.digit", True),
        ("relatedness.0.weight", True),
        ("training.matching.dm.direction", False),
        ("training.batch_size", False),
        ("training.optimizer.lr", False),
        ("network.widths", False),
        ("training.unlabelled.consistency.weight", False),
    ],
)
def test_keys_that_may_change_are_those_that_take_steps(key, may):
    assert may_change(key) is may
    case = load_case("digits", ["training.matching.own={kind: 'tests.pipelines.case.test_by_step:own', weight: 0}"])
    content = with_case_settings if may else None
    if content:
        changed = with_case_settings(case, {key: {"0": 1.0, "9": 2.0}})
        assert current_values(changed, [key])[key] == {"0": 1.0, "9": 2.0}
    else:
        with pytest.raises(UserError):
            with_case_settings(case, {key: {"0": 1.0, "9": 2.0}})


def own(logits, labels, relatedness, trust):
    raise NotImplementedError
