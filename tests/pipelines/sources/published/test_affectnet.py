"""AffectNet, in both releases."""

import io

import numpy as np
import pytest

from pipelines.base.errors import UserError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal\n"
FACE = "134,134,899,899,181.64;530.91;188.32"
TRAINING = "Manually_Annotated_file_lists/training.csv"
LISTED = {
    TRAINING: HEADER
    + f"689/737db2.jpg,{FACE},1,0.785714,-0.0555556\n"
    + f"392/c4db2f.jpg,{FACE},7,-0.5,0.25\n"
    + f"468/21772b.jpg,{FACE},10,-2,-2\n"
    + f"1/a.jpg,{FACE},8,0,0.5\n",
    "Manually_Annotated_file_lists/validation.csv": f"944/06e933.jpg,{FACE},9,-2,-2\n",  # as published: no header
    "Manually_Annotated_Images/689/737db2.jpg": None,
    "Manually_Annotated_Images/944/06e933.jpg": None,
}


def npy(value):
    file = io.BytesIO()
    np.save(file, np.array(value))
    return file.getvalue()


ARRAYS = {
    "train_set/images/0.jpg": None,
    "train_set/annotations/0_exp.npy": npy("3"),
    "train_set/annotations/0_val.npy": npy("-0.25"),
    "train_set/annotations/0_aro.npy": npy("0.5"),
    "train_set/annotations/0_lnd.npy": npy(["1.5", "2.5"]),
    "val_set/images/0.jpg": None,
    "val_set/annotations/0_exp.npy": npy([4]),
    "val_set/annotations/0_val.npy": npy(-2.0),
    "val_set/annotations/0_aro.npy": npy(-2),
}


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_codes_that_are_no_expression_and_minus_two_are_not_annotated(read):
    table = read("affectnet", LISTED)
    assert table.column_names == ["picture", "expression", "valence", "arousal"]
    assert rows(table) == [
        ("Manually_Annotated_Images/689/737db2.jpg", "happiness", 0.785714, -0.0555556),
        ("Manually_Annotated_Images/392/c4db2f.jpg", "contempt", -0.5, 0.25),
        ("Manually_Annotated_Images/468/21772b.jpg", None, None, None),
        ("Manually_Annotated_Images/1/a.jpg", None, 0.0, 0.5),
        ("Manually_Annotated_Images/944/06e933.jpg", None, None, None),
    ]


def test_the_release_in_arrays_has_the_same_columns(read):
    assert rows(read("affectnet", ARRAYS)) == [
        ("train_set/images/0.jpg", "surprise", -0.25, 0.5),
        ("val_set/images/0.jpg", "fear", None, None),
    ]


@pytest.mark.parametrize(("files", "train", "val"), [(LISTED, 4, 1), (ARRAYS, 1, 1)])
def test_parts_are_read_alone(read, files, train, val):
    assert len(read("affectnet", files, part="train")) == train
    assert len(read("affectnet", files, part="val")) == val


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match=r"'Manually_Annotated_file_lists/training.csv': line 2: found 'the code 11'"):
        read("affectnet", LISTED | {TRAINING: f"{HEADER}689/737db2.jpg,{FACE},11,0,0\n"})
    with pytest.raises(UserError, match=r"line 3: found '392/c4db2f.jpg,1'; expected 'subDirectory_filePath,face_x"):
        read("affectnet", LISTED | {TRAINING: f"{HEADER}689/737db2.jpg,{FACE},1,0,0\n392/c4db2f.jpg,1\n"})
    with pytest.raises(UserError, match=r"no 'training.csv' or 'validation.csv', and no 'train_set/annotations/"):
        read("affectnet", {"images/0.jpg": None})
    with pytest.raises(UserError, match=r"'train_set/annotations/0_exp.npy': found the code 3\.5"):
        read("affectnet", ARRAYS | {"train_set/annotations/0_exp.npy": npy("3.5")}, part="train")


def test_arrays_of_python_objects_are_refused(read):
    with pytest.raises(UserError, match=r"0_val.npy.*expected an array of one number"):
        read("affectnet", ARRAYS | {"train_set/annotations/0_val.npy": npy(np.array([None], object))}, part="train")
