"""`kindred init` writes a case that loads and that `kindred inspect` finds nothing wrong with."""

import numpy as np
import pytest

from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.inspection.draft import draft_case
from tests.pipelines.ingest_case import picture, write


def drafted(place, tmp_path):
    file = tmp_path / "drafted" / "case.yaml"
    text = draft_case(str(place), str(file))
    case = load_case(str(file), [f"storage.path={tmp_path / 'store'}"])
    inspection = steps.inspect(case, pictures=0)
    assert [data_set.stops for data_set in inspection.data_sets] == [()] * len(inspection.data_sets)
    assert not any(data_set.quarantined for data_set in inspection.data_sets)
    return case, inspection, text


def rows_by_split(inspection):
    splits = {}
    for data_set in inspection.data_sets:
        splits[data_set.split] = splits.get(data_set.split, 0) + data_set.rows
    return splits


def test_folders_that_name_the_class_are_a_task_and_a_part_is_held_out(tmp_path):
    for i in range(30):
        write(tmp_path / "pets" / ("cat", "dog", "on")[i % 3] / f"{i}.png", picture(i))
    case, inspection, text = drafted(tmp_path / "pets", tmp_path)
    assert case.tasks["label"].classes == ("cat", "dog", "on")
    assert case.input.shape == (3, 12, 10)
    assert rows_by_split(inspection) == {"train": 18, "validation": 6, "test": 6}
    assert "#" in text


def test_splits_in_folder_names_are_taken(tmp_path):
    for split, n in (("train", 12), ("val", 4), ("test", 6)):
        for i in range(n):
            write(tmp_path / "pets" / split / ("cat", "dog")[i % 2] / f"{split}{i}.png", picture(i))
    _, inspection, _ = drafted(tmp_path / "pets", tmp_path)
    assert rows_by_split(inspection) == {"train": 12, "validation": 4, "test": 6}


def test_the_birds_of_the_readme_become_two_tasks(tmp_path):
    root = tmp_path / "my-birds"
    for i in range(12):
        write(root / "species" / ("crow", "gull")[i % 2] / f"{i}.png", picture(i))
    for name, header in (("traits", "file,black,swims"), ("test", "file,species,black,swims")):
        lines = [header]
        for i in range(10):
            write(root / f"{name}_images" / f"{i}.png", picture(100 + i))
            species = f"{('crow', 'gull')[i % 2]}," if name == "test" else ""
            lines.append(f"{name}_images/{i}.png,{species}{i % 2},{'' if i == 3 else 1 - i % 2}")
        write(root / f"{name}.csv", "\n".join(lines) + "\n")
    case, inspection, text = drafted(root, tmp_path)
    assert case.tasks["species"].classes == ("crow", "gull")
    assert case.tasks["labels"].labels == ("black", "swims")
    assert rows_by_split(inspection) == {"train": 22, "test": 10}
    assert "# relatedness:" in text


def test_a_table_of_numbers_has_them_as_input_by_name_and_a_split_column_selects(tmp_path):
    draw = np.random.Generator(np.random.PCG64(0))
    lines = ["id,width,height,age,species,split"]
    for i in range(40):
        a, b = draw.normal(size=2)
        age, species = "" if i == 3 else i, ("setosa", "virginica")[i % 2]
        lines.append(f"row{i},{a:.3f},{b:.3f},{age},{species},{'test' if i % 4 == 0 else 'train'}")
    table = write(tmp_path / "plants.csv", "\n".join(lines) + "\n")
    case, inspection, text = drafted(table, tmp_path)
    assert case.input.shape == (2,)
    assert list(case.tasks) == ["species"]
    assert rows_by_split(inspection) == {"train": 30, "test": 10}
    assert "column 'age' is left out: 1 cells are empty" in text


def test_what_holds_nothing_to_learn_is_told_and_no_file_is_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="0 images and 0 tables"):
        draft_case(str(tmp_path / "empty"), str(tmp_path / "new.yaml"))
    with pytest.raises(UserError, match="nothing there"):
        draft_case(str(tmp_path / "none"), str(tmp_path / "new.yaml"))
    mine = write(tmp_path / "mine.yaml", "mine")
    with pytest.raises(UserError, match="expected a new file"):
        draft_case(str(tmp_path / "empty"), str(mine))
    assert mine.read_text() == "mine"
