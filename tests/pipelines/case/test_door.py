"""Values and names that would fail later are refused when the case file is read."""

import pytest

from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.sources.listing import ROWS


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("input.mean=.nan", "input.mean: found nan"),
        ('storage.path="a\\0b"', "a NUL character"),
        ('data_root="a\\0b"', "a NUL character"),
        ("training.seeds=[9223372036854775808]", "training.seeds.0: found 9223372036854775808"),
        ("tuning.seeds=[9223372036854775808]", "tuning.seeds.0: found 9223372036854775808"),
        ("tuning.search_seed=-1", "tuning.search_seed: found -1"),
        ("datasets.digit_pictures.select={shuffle_seed: -1}", "select.shuffle_seed: found -1"),
        ("datasets.digit_pictures.source={kind: csv, path: a.csv, delimiter: é}", "delimiter: found 'é'"),
        ("training.optimizer.lr=1e300", "training.optimizer"),
        ("input.mean=1e39", "input.mean"),
        ("input.std=1e-320", "input.std"),
        ("tuning.space={training.optimizer.lr: {choice: [.nan]}}", "choice: found nan"),
        ("tuning.space={training.optimizer.lr: {choice: [{a: .inf}]}}", "choice: found {'a': inf}"),
        ("tuning.space={training.optimizer.lr: {uniform: [0, .nan]}}", "uniform: found [0, nan]"),
        ("tuning.space={training.steps: {randint: [0, 1e300]}}", "randint: found ends 0 and 1e+300"),
        ("tuning.space={training.steps: {randint: [0, .inf]}}", "randint: found"),
        ('tasks.traits.labels=[a, "a "]', "tasks.traits.labels: found 'a '"),
        ('tasks.traits.labels=[a, ""]', "tasks.traits.labels: found ''"),
        ('tasks.digit.classes=[a, " "]', "tasks.digit.classes: found ' '"),
    ],
)
def test_a_value_that_would_fail_later_is_refused(override, words):
    with pytest.raises(UserError) as caught:
        load_case("digits", [override])
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["mean", "safe", "pareto", "step", "lr", "data_wait", "problem", *ROWS.names])
def test_no_task_has_the_name_of_a_column_of_ours(name):
    with pytest.raises(UserError, match=rf"tasks\.{name}: the name is taken"):
        load_case("digits", [f"tasks.{name}={{kind: multiclass, classes: [a, b]}}"])
