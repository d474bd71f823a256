"""The part of an image that a table names is what networks see, in training and in use; rows without it are counted."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image
from pydantic import ValidationError

from pipelines.base.errors import UserError
from pipelines.blocks.schema import block_schema
from pipelines.case.build import tasks_of
from pipelines.case.crop import Crop
from pipelines.case.data import PictureInput
from pipelines.ingest.decode import decode_picture
from pipelines.ingest.decode_rows import decode_rows
from pipelines.ingest.framing import CUT_BOX
from pipelines.ingest.list_rows import list_data_set
from pipelines.ingest.make_block import BlockBuffers, Recipe, make_block, read_arrow
from pipelines.ingest.unusable import UnusableInputError
from pipelines.use.inputs import list_inputs
from pipelines.use.model import Model
from pipelines.use.service import Limits, RefusedError, inputs_of_request
from tests.pipelines.ingest_case import REST, case_of, pixels, write, write_what_every_case_needs
from tests.pipelines.use.test_model import files_of

BOX = {"left": "x", "top": "y", "width": "w", "height": "h"}
EYES = {"left_eye": ["lx", "ly"], "right_eye": ["rx", "ry"], "eyes_at": [0.25, 0.5]}


def declared(height=10, width=12, crop=BOX, **more):
    return PictureInput(height=height, width=width, crop=crop, **more)


def encoded(array, kind="PNG", **how):
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, kind, **how)
    return sink.getvalue()


def smooth(width=240, height=200):
    """An image whose values say where they stand: red grows to the right, green downwards."""
    down, right = np.mgrid[:height, :width] + 0.5
    return np.stack([right, down, (right + down) / 2], axis=-1).round().astype(np.uint8)


def test_the_input_is_what_lies_in_the_box():
    image = pixels(1, (40, 60))
    found, note = decode_picture(encoded(image), declared(), (5.0, 7.0, 17.0, 17.0))
    assert note is None
    np.testing.assert_array_equal(found, image[7:17, 5:17].transpose(2, 0, 1))
    share = decode_picture(encoded(image), declared(crop=BOX | {"unit": "share"}), (5 / 60, 7 / 40, 17 / 60, 17 / 40))
    np.testing.assert_allclose(share[0].astype(int), found, atol=1)


def test_a_box_grows_by_its_margin_and_ends_with_the_image():
    image = pixels(2, (40, 60))
    with_margin = BOX | {"margin": 0.25}
    found, _ = decode_picture(encoded(image), declared(12, 12, with_margin), (10.0, 8.0, 18.0, 16.0))
    np.testing.assert_array_equal(found, image[6:18, 8:20].transpose(2, 0, 1))
    at_edge, note = decode_picture(encoded(image), declared(10, 10, with_margin), (0.0, 0.0, 8.0, 8.0))
    np.testing.assert_array_equal(at_edge, image[:10, :10].transpose(2, 0, 1))
    assert note is None  # the margin alone reaches beyond
    beyond, note = decode_picture(encoded(image), declared(10, 10), (50.0, 30.0, 90.0, 90.0))
    np.testing.assert_array_equal(beyond, image[30:, 50:].transpose(2, 0, 1))
    assert note == CUT_BOX


@pytest.mark.parametrize("box", [(60.0, 0.0, 70.0, 9.0), (-9.0, 0.0, 0.0, 9.0), (0.0, 40.0, 9.0, 1e8)])
def test_a_box_outside_of_its_image_is_refused(box):
    with pytest.raises(UnusableInputError, match=r"^a box outside of its image: found .*; the image is 60 x 40"):
        decode_picture(encoded(pixels(3, (40, 60))), declared(), box)


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_a_box_of_another_aspect_is_fitted_as_an_image_is(fit):
    image = smooth()
    found, _ = decode_picture(encoded(image), declared(fit=fit), (30.0, 20.0, 90.0, 120.0))
    alone, _ = decode_picture(encoded(image[20:120, 30:90]), declared(crop=None, fit=fit))
    np.testing.assert_allclose(found.astype(int), alone, atol=3)


def test_boxes_count_in_the_image_that_viewers_show_and_draft_decoding_changes_nothing():
    upright = smooth()
    box = (100.0, 60.0, 180.0, 140.0)
    expected = decode_picture(encoded(upright), declared(20, 20), box)[0].astype(int)
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = 6  # kept on its side: viewers turn it to the right
    on_its_side = encoded(np.rot90(upright).copy(), "JPEG", quality=95, exif=tag)
    for one in (encoded(upright, "JPEG", quality=95), on_its_side):
        np.testing.assert_allclose(decode_picture(one, declared(20, 20), box)[0].astype(int), expected, atol=4)


@settings(max_examples=40, deadline=None)
@given(
    middle=st.tuples(st.integers(90, 150), st.integers(80, 120)),
    apart=st.floats(8, 60),
    angle=st.floats(-np.pi, np.pi),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
def test_eyes_come_to_lie_where_they_should_however_a_head_is_held(middle, apart, angle, kind):
    step = np.array([np.cos(angle), np.sin(angle)]) * apart / 2
    eyes = (*(middle - step), *(middle + step))
    size = 24
    found, _ = decode_picture(encoded(smooth(), kind), declared(size, size, EYES), eyes)
    down, right = np.mgrid[:size, :size] + 0.5
    # by hand: from the middle of the eyes, so many times the way in the input, turned
    along, across = (right - size / 2) / (size / 2) * apart, (down - size / 2) / (size / 2) * apart
    x = middle[0] + along * np.cos(angle) - across * np.sin(angle)
    y = middle[1] + along * np.sin(angle) + across * np.cos(angle)
    inside = (x > 3) & (x < 237) & (y > 3) & (y < 197)
    np.testing.assert_allclose(found[0][inside], x[inside], atol=4)
    np.testing.assert_allclose(found[1][inside], y[inside], atol=4)
    outside = (x < -4) | (x > 244) | (y < -4) | (y > 204)
    assert (found[:, outside] == 255).all()  # the background


def test_an_eye_outside_of_its_image_is_refused():
    with pytest.raises(UnusableInputError, match=r"^an eye outside of its image: found x 61"):
        decode_picture(encoded(pixels(5, (40, 60))), declared(crop=EYES), (10.0, 10.0, 61.0, 10.0))


@pytest.mark.parametrize(
    ("crop", "words"),
    [
        ({}, "found no column"),
        ({"left": "x", "top": "y", "width": "w"}, "found left, top, width"),
        (BOX | {"right": "r"}, "expected the columns of left"),
        (EYES | {"margin": 0.1}, "margin"),
        (EYES | {"eyes_at": [0.6, 0.5]}, "below 0.5"),
    ],
)
def test_half_a_box_is_refused_with_the_case(crop, words):
    with pytest.raises(ValidationError, match=words):
        Crop(**crop)


TABLE = """file,kind,x,y,w,h
a.png,cat,1,2,12,10
b.png,dog,,2,12,10
c.png,dog,1,2,0,10
d.png,cat,1,two,12,10
e.png,dog,70,2,12,10
f.png,cat,50,2,20,10
g.png,dog,0,0,60,40
"""


def cropped_case(tmp_path, crop=BOX, table=TABLE, more=None):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    for i, name in enumerate("abcdefg"):
        write(root / "pets" / f"{name}.png", encoded(pixels(i, (40, 60))))
    write(root / "pets" / "pets.csv", table)
    pets = {
        "source": {"kind": "csv", "path": "pets/pets.csv"},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    rest = {name: data_set | {"crop": False} for name, data_set in REST.items()}
    size = {"height": 10, "width": 12, "crop": crop}
    return case_of(root, tmp_path, rest | {"pets": pets | (more or {})}, input=size), root


def test_rows_without_a_box_are_set_aside_and_blocks_and_predictions_see_the_same(tmp_path):
    case, root = cropped_case(tmp_path)
    listed = list_data_set(case, "pets")
    reasons = dict(zip(listed.refused["id"].to_pylist(), listed.refused["reason"].to_pylist(), strict=True))
    assert reasons == {
        "b.png": "no box: column 'x' is empty",
        "c.png": "no box: it is 0 wide and 10 high",
        "d.png": "no box: found 'two' in column 'y'; expected a number",
    }
    schema = block_schema(case.input.shape, list(tasks_of(case).values()))
    recipe = Recipe(dict(case.datasets), case.input, schema)
    (tmp_path / "blocks").mkdir()
    job = json.dumps({"data_set": "pets", "folder": str(tmp_path / "blocks"), "key": "k", "older": []})
    outcome = json.loads(make_block(job, listed.rows.combine_chunks(), recipe, BlockBuffers())["outcome"])
    assert [one["id"] for one in outcome["failed"]] == ["e.png"]
    assert outcome["notes"] == {CUT_BOX: 1}
    block = read_arrow(str(tmp_path / "blocks" / "k.arrow"))
    inputs = block["input"].combine_chunks().to_numpy_ndarray()
    np.testing.assert_array_equal(inputs[0], pixels(0, (40, 60))[2:12, 1:13].transpose(2, 0, 1))

    (one,) = list_inputs([str(root / "pets" / "pets.csv")], case.input)
    usable = one.listing.rows.filter(one.listing.rows["refused"].is_null())
    predicted, kept, failed = decode_rows(usable, one.source, case.input)
    assert [usable["id"][i].as_py() for i in kept] == block["id"].to_pylist() == ["a.png", "f.png", "g.png"]
    np.testing.assert_array_equal(predicted, inputs)
    assert [row["reason"].partition(":")[0] for row in failed] == ["a box outside of its image"]


def test_another_box_is_another_input_and_other_cases_keep_their_blocks(tmp_path):
    digests = {}
    for name, table in (("as it was", TABLE), ("moved", TABLE.replace("a.png,cat,1,", "a.png,cat,3,"))):
        case, _ = cropped_case(tmp_path / name, table=table)
        digests[name] = [chunk.key for chunk in list_data_set(case, "pets").chunks]
    assert digests["as it was"] != digests["moved"]
    whole = PictureInput(height=10, width=12)
    assert "crop" not in whole.model_dump()
    case, _ = cropped_case(tmp_path / "whole", crop=None)
    assert "input.box" not in list_data_set(case, "pets").rows.column_names


def test_columns_may_be_called_otherwise_in_a_dataset_and_a_wrong_name_is_told(tmp_path):
    corners = {"left": "x", "top": "y", "right": "w", "bottom": "h"}
    case, _ = cropped_case(tmp_path, crop=BOX | {"left": "l"}, more={"crop": corners})
    assert list_data_set(case, "pets").rows["input.box"][0].as_py() == [1, 2, 12, 10]
    case, _ = cropped_case(tmp_path, crop=BOX | {"left": "X"})
    with pytest.raises(UserError, match="no column 'X'"):
        list_data_set(case, "pets")
    with pytest.raises(UserError, match=r"datasets\.pets\.crop: found; expected input.crop too"):
        cropped_case(tmp_path, crop=None, more={"crop": corners})


def test_several_boxes_of_an_image_are_several_rows_where_a_column_tells_them_apart(tmp_path):
    table = "face,file,kind,x,y,w,h\n1,a.png,cat,1,2,12,10\n2,a.png,dog,30,2,12,10\n"
    source = {"kind": "csv", "path": "pets/pets.csv"}
    case, _ = cropped_case(tmp_path, table=table, more={"source": source})
    assert all("source.id_column" in reason for reason in list_data_set(case, "pets").refused["reason"].to_pylist())
    case, _ = cropped_case(tmp_path, table=table, more={"source": source | {"id_column": "face"}})
    rows = list_data_set(case, "pets").rows
    assert rows["input.box"].to_pylist() == [[1, 2, 13, 12], [30, 2, 42, 12]]


def test_exchanged_eyes_are_told_before_every_face_stands_on_its_head(tmp_path):
    table = "file,kind,lx,ly,rx,ry\na.png,cat,40,10,20,10\nb.png,dog,41,9,20,10\nc.png,dog,10,9,20,10\n"
    case, _ = cropped_case(tmp_path, crop=EYES, table=table)
    with pytest.raises(UserError, match="in 2 of 3 rows the left eye lies to the right of the right one"):
        list_data_set(case, "pets")


def test_a_model_takes_tables_with_its_columns_and_refuses_whole_images(tmp_path):
    whole = {"kind": "picture", "height": 10, "width": 12, "channels": 3, "mean": 0.5, "std": 0.25}
    plain, model = Model([files_of(whole)]), Model([files_of(whole | {"crop": BOX})])
    images = [pixels(i, (40, 60)) for i in range(3)]
    frame = pd.DataFrame({"image": images, "x": [1, 5, None], "y": [2, 3, 4], "w": [12, 12, 9], "h": [10, 10, 9]})
    said = model.predict(frame, full=True)
    assert said["problem"][2] == "no box: column 'x' is empty"
    cut = np.stack([images[0][2:12, 1:13], images[1][3:13, 5:17]])
    expected = plain.predict(cut, full=True)["kind.probabilities"]
    np.testing.assert_array_equal(np.stack(said["kind.probabilities"][:2]), np.stack(expected))
    for data in (cut, [encoded(images[0])], frame.drop(columns="x")):
        with pytest.raises(UserError, match="takes a part of each image, by the columns x, y, w, h"):
            model.predict(data)
    cropped_before = model.predict(cut, full=True, crop=False)
    np.testing.assert_array_equal(np.stack(cropped_before["kind.probabilities"]), np.stack(expected))
    write(tmp_path / "a.png", encoded(images[0]))
    with pytest.raises(UserError, match="found no 'x'; expected a table"):
        list_inputs([str(tmp_path / "a.png")], model.input)
    assert len(list_inputs([str(tmp_path / "a.png")], model.input, {"crop": False})) == 1


def test_a_request_names_the_box_of_each_picture():
    given, image = declared(), pixels(6, (40, 60))
    picture = base64.b64encode(encoded(image)).decode()
    limits = Limits()

    def ask(body, kind="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return inputs_of_request(body, kind, given, limits)

    found = ask({"pictures": [picture], "rows": [{"x": 5, "y": "7", "w": 12, "h": 10}]})
    np.testing.assert_array_equal(found[0], image[7:17, 5:17].transpose(2, 0, 1))
    assert ask({"pictures": [picture], "crop": False}).shape == (1, 3, 10, 12)
    for body, kind, words in (
        (encoded(image), "image/png", "takes a part of each picture"),
        ({"pictures": [picture]}, "application/json", "the keys x, y, w, h"),
        ({"pictures": [picture], "rows": [{"x": 5}]}, "application/json", "rows[0]: there is no 'y'"),
        ({"pictures": [picture], "rows": [{"x": 5, "y": None, "w": 1, "h": 1}]}, "application/json", "rows[0]: no box"),
        ({"pictures": [picture], "rows": [{"x": 99, "y": 0, "w": 1, "h": 1}]}, "application/json", "outside"),
    ):
        with pytest.raises(RefusedError) as refused:
            ask(body, kind)
        assert refused.value.status == 400
        assert words in refused.value.why
