"""Every input of the corpus comes to what is right, or is told as what it is; no Ray is needed for that."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.base.errors import UserError
from pipelines.case.data import DataSet, PictureInput
from pipelines.ingest.decode import UnusableInputError, decode_input, decode_picture
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import read_inputs, reason_of
from tests.corpus.images import PICTURES, RAMP
from tests.corpus.mutations import SEEDS, damaged, outcome_of
from tests.corpus.sources import PLACES
from tests.corpus.tables import REFUSED, TABLES
from tests.pipelines.ingest_case import FOLDER, REST, case_of, picture, write, write_what_every_case_needs


@pytest.mark.parametrize("one", PICTURES, ids=lambda one: one.name)
def test_an_image_looks_as_every_viewer_shows_it(one):
    assert len(one.content) < 10_000
    declared = PictureInput(**one.input)
    if one.refused is not None:
        with pytest.raises(UnusableInputError, match=f"^{one.refused}"):
            decode_picture(one.content, declared)
        return
    pixels, note = decode_picture(one.content, declared)
    assert (pixels.shape, pixels.dtype, note) == (declared.shape, np.uint8, one.note)
    for (down, right), colour in (one.pixels or {}).items():
        found = pixels[:, int(down * declared.height), int(right * declared.width)]
        assert np.abs(found.astype(int) - colour).max() <= one.within, (found, colour)
    if one.ramp:
        assert np.abs(pixels[0].astype(int) - np.rint(255 * RAMP)).max() <= 1


@pytest.fixture(scope="module")
def any_case(tmp_path_factory):
    """A case to put datasets into: to load one takes longer than to list it."""
    root = tmp_path_factory.mktemp("any")
    write_what_every_case_needs(root)
    write(root / "pets" / "cat" / "1.png", picture(1))
    return case_of(root, root, REST | {"pets": FOLDER})


def with_table(any_case, root, table):
    given = {"source": {"kind": "csv", "path": "pets.csv"} | table.source, "labels": table.labels}
    data_set = DataSet.model_validate(given | ({} if table.select is None else {"select": table.select}))
    write(root / "pets.csv", table.text.encode())
    return any_case.model_copy(update={"data_root": str(root), "datasets": {"pets": data_set}})


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_read_as_it_is_meant_and_no_line_is_lost(any_case, tmp_path, table):
    for i, file in enumerate(table.files):
        write(tmp_path / file, picture(i))
    for file, text in table.beside.items():
        write(tmp_path / file, text)
    listed = list_data_set(with_table(any_case, tmp_path, table), "pets")
    (task,) = table.labels
    assert listed.rows[task].to_pylist() == table.expected
    reasons = dict(zip(listed.refused["id"].to_pylist(), listed.refused["reason"].to_pylist(), strict=True))
    assert reasons.keys() == table.quarantined.keys()
    for place, reason in table.quarantined.items():
        assert reasons[place].startswith(reason)
    assert dict(listed.notes) == table.notes
    if table.select is None:
        lines = len([line for line in table.text.splitlines() if line.strip()])
        merged = sum(n for note, n in listed.notes.items() if not note.startswith("file names"))
        assert listed.rows.num_rows + listed.refused.num_rows + merged + 1 == lines


@pytest.mark.parametrize("table", REFUSED, ids=lambda table: table.name)
def test_what_cannot_be_read_is_told_with_the_key_to_set(any_case, tmp_path, table):
    write(tmp_path / "a.png", picture(0))
    with pytest.raises(UserError) as told:
        list_data_set(with_table(any_case, tmp_path, table), "pets")
    assert table.told in str(told.value)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_source_comes_to_its_rows_or_is_told(any_case, tmp_path, place):
    root = tmp_path / "root"
    root.mkdir()
    place.make(root)
    given = {"source": place.source, "labels": place.labels} | ({"select": place.select} if place.select else {})
    data_set = DataSet.model_validate(given)
    update = {"data_root": str(root), "datasets": {"pets": data_set}, "input": place.input}
    case = any_case.model_copy(update=update)
    if place.told is not None:
        with pytest.raises(UserError) as told:
            list_data_set(case, "pets")
        assert place.told in str(told.value)
        return
    listed = list_data_set(case, "pets")
    reasons = dict(zip(listed.refused["id"].to_pylist(), listed.refused["reason"].to_pylist(), strict=True))
    labels = []
    inputs = zip(listed.rows["id"].to_pylist(), listed.rows["kind"].to_pylist(), strict=True)
    for (row_id, label), raw in zip(inputs, read_inputs(listed.rows, data_set), strict=True):
        try:
            assert not isinstance(raw, Exception), raw
            decode_input(raw, place.input)
            labels.append(label)
        except Exception as error:
            reasons[row_id] = reason_of(raw if isinstance(raw, Exception) else error)
    assert (labels, reasons.keys(), dict(listed.notes)) == (place.expected, place.refused.keys(), place.notes)
    assert all(reasons[row_id].startswith(reason) for row_id, reason in place.refused.items()), reasons


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_damage_of_any_source_ends_in_rows_or_one_message(any_case, tmp_path_factory, seed, data):
    """tests/benchmarks/hostile.py does the same for as long as it is given, with bounds on time and memory."""
    content = damaged(seed.files[seed.damaged], lambda low, high: data.draw(st.integers(low, high)))
    outcome_of(any_case, tmp_path_factory.mktemp("damaged"), seed, content)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_what_is_damaged_was_whole_before(any_case, tmp_path, seed):
    assert outcome_of(any_case, tmp_path, seed, seed.files[seed.damaged]) == "read"


def test_files_in_folders_are_images_by_content_and_the_rest_is_counted(any_case, tmp_path):
    for name in ("1.png", "2", "3.HEIC", "4.mp4"):
        write(tmp_path / "cat" / name, picture(len(name)))
    for name in ("film.mp4", "Thumbs.db", "README"):
        write(tmp_path / "cat" / name, b"no image")
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    data_set = DataSet.model_validate(
        {"source": {"kind": "image_folder", "path": "."}, "labels": {"kind": {"from": "folder"}}}
    )
    case = any_case.model_copy(update={"data_root": str(tmp_path), "datasets": {"pets": data_set}})
    listed = list_data_set(case, "pets")
    assert listed.rows["id"].to_pylist() == ["cat/1.png", "cat/2", "cat/3.HEIC", "cat/4.mp4"]
    assert listed.refused.select(["id", "reason"]).to_pylist() == [
        {"id": "cat/pipe.png", "reason": "not a regular file"}
    ]
    left_out = "files that are no image are left out: "
    assert listed.notes == {
        "images by their first bytes, whatever they are called": 3,
        left_out + "*.mp4": 1,
        left_out + "*.db": 1,
        left_out + "without an ending": 1,
    }


@pytest.mark.parametrize(("encoding", "told"), [("utf-16", "iconv -f UTF-16"), ("latin-1", "iconv -f ISO-8859-1")])
def test_a_table_in_another_encoding_is_told_with_what_makes_it_utf8(any_case, tmp_path, encoding, told):
    write(tmp_path / "a.png", picture(0))
    data_set = DataSet.model_validate({"source": {"kind": "csv", "path": "pets.csv"}, "labels": REFUSED[0].labels})
    write(tmp_path / "pets.csv", "file,kind,note\na.png,cat,é\n".encode(encoding))
    case = any_case.model_copy(update={"data_root": str(tmp_path), "datasets": {"pets": data_set}})
    with pytest.raises(UserError) as problem:
        list_data_set(case, "pets")
    assert told in str(problem.value)
