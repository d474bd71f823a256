"""The worlds of the studies: the same rows from the same seed, and what their descriptions promise."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.case.load import SHIPPED_CASES, load_case, shipped_cases
from pipelines.ingest.list_rows import list_data_set
from pipelines.sources.embedded import write_embedded
from pipelines.sources.embedded.studies.worlds import WORLDS
from pipelines.sources.registry import Source

SOURCE = TypeAdapter(Source)
STUDIES = [path for path in shipped_cases() if path.parent.name == "studies"]


def made(world, rows=4000, seed=0, **settings):
    source = SOURCE.validate_python({"kind": "made_vectors", "world": world, "rows": rows, "seed": seed, **settings})
    columns = source.columns().to_pydict()
    return source.vectors(), {name: np.array(values) for name, values in columns.items()}


@pytest.mark.parametrize("world", WORLDS)
def test_a_seed_makes_the_same_rows_and_another_seed_others_of_the_same_world(world):
    (x, columns), (again, same), (other, _) = made(world, 50), made(world, 50), made(world, 50, seed=1)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert (x == again).all()
    assert (x != other).any()
    assert all((columns[name] == same[name]).all() for name in columns)
    _, many = made(world)
    for name, values in many.items():
        if values.dtype == bool:
            assert 0.02 < values.mean() < 0.98, f"{name} says something"


def test_the_noisy_tasks_err_apart_from_each_other():
    _, columns = made("amplification")
    wrong = np.stack([columns[f"extra{i}"] != columns["main"] for i in range(6)])
    assert np.allclose(wrong.mean(axis=1), 0.25, atol=0.03)
    assert abs(np.corrcoef(wrong) - np.eye(6)).max() < 0.06


def test_four_attributes_alone_decide():
    x, columns = made("attribute_selection")
    for name, values in columns.items():
        of_unused = abs(np.corrcoef(x[:, 4:].T, values)[-1, :-1])
        assert of_unused.max() < 0.08, name


def test_the_blocks_agree_in_training_contradict_in_the_test_and_the_extra_task_needs_the_first():
    from pipelines.sources.embedded.studies.worlds import _fixed

    first, second = (direction / np.linalg.norm(direction) for direction in _fixed(4).normal(size=(2, 10)))
    for world, agree in (("representation_bias", 1.0), ("representation_conflict", 0.0), ("representation_apart", 0.5)):
        x, columns = made(world)
        says, other = x[:, :10] @ first > 0, x[:, 10:] @ second > 0
        assert (says == columns["main"]).all()
        assert abs((says == other).mean() - agree) < 0.03
        assert ((x[:, :10] @ first > 0.9) == columns["extra"]).mean() > 0.999


def test_codings_say_the_same():
    _, columns = made("codings")
    above = np.stack([columns[f"above{i}"] for i in range(5)], axis=1).sum(axis=1)
    assert (columns["bin"] == np.array([f"bin{k}" for k in above])).all()
    assert (columns["coarse"] == np.array([f"third{k // 2}" for k in above])).all()


def test_readings_can_be_left_out_of_the_inputs():
    with_readings, columns = made("input_or_output")
    without, same = made("input_or_output", first=20)
    assert (with_readings[:, :20] == without).all()
    assert (columns["main"] == same["main"]).all()
    assert ((with_readings[:, 20] > 0) == columns["reading0"]).all()


def test_an_unknown_world_is_told_with_the_nearest():
    with pytest.raises(ValidationError, match="did you mean 'focus'"):
        made("focsu")


def test_there_is_a_study_of_every_world():
    text = "".join(path.read_text() for path in STUDIES)
    assert all(f"world: {world}," in text for world in WORLDS)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_lists_its_rows_with_labels_and_trains_ten_seeds(path, tmp_path):
    case = load_case(f"studies/{path.stem}", [f"storage.path={tmp_path}"])
    assert case.name == f"study-{path.stem.replace('_', '-')}"
    assert case.training.seeds == tuple(range(10))
    assert path.parent.parent == SHIPPED_CASES
    write_embedded(case.embedded, case.data_root)
    for name, data_set in case.datasets.items():
        listed = list_data_set(case, name)
        assert not len(listed.refused)
        for task in data_set.labels:
            assert listed.rows[task].null_count == 0
        width = {len(vector) for vector in listed.rows["vector"].slice(0, 5).to_pylist()}
        assert width == {case.input.size}
