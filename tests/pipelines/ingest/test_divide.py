"""Parts of a split: of the right size, whole groups, alike in labels, in time's order, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.base.errors import UserError
from pipelines.case.load import case_of, load_case
from pipelines.case.split import Part
from pipelines.ingest.divide import part_of_rows
from pipelines.ingest.groups import check_groups
from pipelines.ingest.list_rows import list_data_set
from tests.pipelines.test_numbers import write_case

THIRDS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def parts(groups, labels=None, times=None, **settings):
    """Return the number of each row's part, and check that every row has one."""
    settings = {"fractions": THIRDS} | settings
    names = ("train", "validation", "test")
    masks = [part_of_rows(Part(of=name, **settings), groups, labels or {}, times) for name in names]
    assert (np.sum(masks, axis=0) == 1).all()
    return np.argmax(masks, axis=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=30, max_size=120), st.integers(0, 5))
def test_groups_stay_whole_and_parts_come_near_their_fractions(subjects, seed):
    found = parts([f"s{s}" for s in subjects], seed=seed)
    for subject in set(subjects):
        assert len({int(part) for part, s in zip(found, subjects, strict=True) if s == subject}) == 1
    largest = max(subjects.count(s) for s in set(subjects))
    for k, share in enumerate(THIRDS.values()):
        assert abs((found == k).sum() - share * len(subjects)) <= largest


def test_the_same_seed_gives_the_same_parts_in_any_order_of_rows_and_another_seed_others():
    names = [f"image-{i}" for i in range(200)]
    found = dict(zip(names, parts(names, seed=1), strict=True))
    backwards = dict(zip(names[::-1], parts(names[::-1], seed=1), strict=True))
    assert found == backwards
    assert found != dict(zip(names, parts(names, seed=2), strict=True))
    assert [list(found.values()).count(k) for k in range(3)] == [120, 40, 40]


def test_stratified_parts_have_the_same_shares_of_labels():
    draw = np.random.Generator(np.random.PCG64(0))
    classes = draw.choice(4, size=500, p=[0.7, 0.2, 0.08, 0.02])
    found = parts([str(i) for i in range(500)], {"kind": classes})
    for c in range(4):
        for k, share in enumerate(THIRDS.values()):
            assert abs(((found == k) & (classes == c)).sum() - share * (classes == c).sum()) <= 2
    rare = np.arange(500)  # a class each: the parts still come to their fractions
    assert [int((parts([str(i) for i in range(500)], {"kind": rare}) == k).sum()) for k in range(3)] == [300, 100, 100]


def test_many_labels_and_numbers_can_be_stratified_by_with_rows_that_have_none():
    draw = np.random.Generator(np.random.PCG64(0))
    truths = draw.integers(-1, 2, size=(300, 3)).astype(np.int8)
    numbers = draw.normal(size=(300, 1)).astype(np.float32)
    numbers[::5] = np.nan
    found = parts([str(i) for i in range(300)], {"traits": truths, "age": numbers})
    assert np.nanmean(numbers[found == 0]) == pytest.approx(np.nanmean(numbers[found == 2]), abs=0.3)


def test_time_trains_on_what_was_first_and_splits_no_moment():
    days = [f"2026-01-{1 + i // 4:02d}" for i in range(100)]
    found = parts([str(i) for i in range(100)], times=days, time="day")
    assert (np.diff(found) >= 0).all()
    assert all(len(set(found[i : i + 4])) == 1 for i in range(0, 100, 4))
    assert [int((found == k).sum()) for k in range(3)] == [60, 20, 20]
    with pytest.raises(UserError, match="found 'soon'"):
        parts(["a", "b"], times=["soon", "3"], time="day")


def test_every_row_is_tested_in_one_fold_alone_and_validates_in_none_of_it():
    groups = [f"s{i % 23}" for i in range(200)]
    settings = {"folds": 5, "fractions": {"validation": 0.25}}
    found = [parts(groups, fold=fold, **settings) for fold in range(5)]
    assert (np.sum([of_fold == 2 for of_fold in found], axis=0) == 1).all()
    assert all(20 <= (of_fold == 1).sum() <= 60 for of_fold in found)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 999), min_size=1), st.sets(st.integers(0, 999), min_size=1), st.integers(0, 5))
def test_a_joint_split_puts_a_subject_of_two_tables_in_one_part_whoever_else_is_there(some, others, seed):
    for kind in ({}, {"folds": 4, "fold": 1, "fractions": {"validation": 0.3}}):
        joint = {"joint": True, "by": "subject", "seed": seed} | kind
        a, b = (dict(zip(of, parts([str(s) for s in of], **joint), strict=True)) for of in (some, others))
        assert all(a[subject] == b[subject] for subject in a.keys() & b.keys())


def test_a_joint_split_keeps_its_shares_on_average_and_tests_every_subject_in_one_fold():
    groups, joint = [f"s{i}" for i in range(4000)], {"joint": True, "by": "subject"}
    found = parts(groups, **joint)
    assert all(abs((found == k).mean() - share) < 0.03 for k, share in enumerate(THIRDS.values()))
    assert (found != parts(groups, **joint, seed=1)).any()
    folds = [parts(groups, folds=5, fold=fold, fractions={"validation": 0.25}, **joint) for fold in range(5)]
    assert (np.sum([of_fold == 2 for of_fold in folds], axis=0) == 1).all()
    assert all(abs((of_fold == 1).mean() - 0.2) < 0.03 for of_fold in folds)


def test_tables_that_call_their_subjects_otherwise_are_divided_alike(tmp_path):
    subjects = np.random.default_rng(0).permutation(60)
    (tmp_path / "a.csv").write_text("x0,subject,kind\n" + "\n".join(f"{i},{s},u" for i, s in enumerate(subjects)))
    of_forty = "\n".join(f"{i},{s}.0,v" for i, s in enumerate(subjects[:40]))
    (tmp_path / "b.csv").write_text(f"x0,patient,mood\n{of_forty}")

    def case(seed_of_b=0):
        def of(name, by, task, seed):
            return {
                "source": {"kind": "csv", "path": f"{name}.csv", "vector_columns": ["x0"]},
                "labels": {task: {"from": "column", "column": task}},
                "split": {"fractions": {"train": 0.6, "test": 0.4}, "by": by, "joint": True, "seed": seed},
            }

        return case_of(
            {
                "name": "joint", "data_root": str(tmp_path), "input": {"kind": "vector", "size": 1},
                "tasks": {
                    "kind": {"kind": "multiclass", "classes": ["u"]},
                    "mood": {"kind": "multiclass", "classes": ["v"]},
                },
                "datasets": {"a": of("a", "subject", "kind", 0), "b": of("b", "patient", "mood", seed_of_b)},
                "training": {"steps": 1, "batch_size": 4}, "storage": {"path": str(tmp_path / "store")},
            }
        )  # fmt: skip

    loaded = case()
    of = {
        name: {int(float(cell)) for cell in list_data_set(loaded, name).fields[column].to_pylist()}
        for name, column in (("a", "subject"), ("a-test", "subject"), ("b", "patient"), ("b-test", "patient"))
    }
    assert not (of["a"] | of["b"]) & (of["a-test"] | of["b-test"])
    assert of["b"] | of["b-test"] == set(subjects[:40].tolist())
    with pytest.raises(UserError, match="found another seed"):
        case(seed_of_b=1)


def divided(tmp_path, **split):
    settings = {"fractions": {"train": 0.5, "validation": 0.25, "test": 0.25}} | split
    labels = {"pain": {"from": "column", "column": "pain"}, "age": {"from": "column", "column": "age"}}
    source = {"kind": "numpy", "path": "some.npz"}
    tasks = {"pain": {"kind": "ordinal", "classes": ["0", "1", "2", "3"]}, "age": {"kind": "regression"}}
    datasets = {"all": {"source": source, "labels": labels, "split": settings}}
    return write_case(tmp_path, datasets=datasets, tasks=tasks, evaluation={})


def test_a_dataset_with_a_split_becomes_one_dataset_a_part(tmp_path):
    case = load_case(str(divided(tmp_path, stratify="pain", seed=3)))
    assert {name: of.split for name, of in case.datasets.items()} == {
        "all": "train",
        "all-validation": "validation",
        "all-test": "test",
    }
    ids = {name: list_data_set(case, name).rows["id"].to_pylist() for name in case.datasets}
    assert [len(of) for of in ids.values()] == [100, 50, 50]
    assert len(set().union(*ids.values())) == 200


def test_a_group_in_two_splits_is_refused(tmp_path):
    file = divided(tmp_path, by="pain")
    case = load_case(str(file))
    check_groups(case, [list_data_set(case, name) for name in case.datasets])
    other = case.datasets["all-test"].model_copy(update={"part": None, "groups": "pain"})
    leaking = case.model_copy(update={"datasets": {**case.datasets, "all-test": other}})
    with pytest.raises(UserError, match="values of 'pain' in both"):
        check_groups(leaking, [list_data_set(leaking, name) for name in leaking.datasets])


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ({"fractions": {"train": 0.5, "test": 0.2}}, "found a sum of 0.7"),
        ({"time": "pain", "by": "age"}, "time: found beside by"),
        ({"stratify": "group"}, "found 'group', for which the dataset has no labels"),
        ({"folds": 3}, "fractions: found beside folds"),
        ({"joint": True}, "joint: found without by"),
        ({"bye": "age"}, "unknown key 'bye'"),
    ],
)
def test_a_mistake_in_a_split_is_told_with_its_place(tmp_path, split, says):
    with pytest.raises(UserError) as error:
        load_case(str(divided(tmp_path, **split)))
    assert "datasets.all.split" in str(error.value)
    assert says in str(error.value)
