"""BP4D."""

import pytest

from pipelines.base.errors import UserError

CODES = "AUCoding/AU_OCC/F001_T1.csv"
FILES = {
    CODES: "0,1,2,3,12\n2,0,1,9,1\n3,9,9,9,9\n4,1,0,9,0\n",
    "AUCoding/AU_OCC/M009_T8.csv": "1,1,2,12,24\n100,1,9,0,1\n",  # as BP4D+ has it: the first cell is no 0
    "Sequences(2D+3D)/F001/T1/0000.jpg": None,
    "Sequences(2D+3D)/F001/T1/0001.jpg": None,
    "Sequences(2D+3D)/F001/T1/0002.jpg": None,
    "Sequences(2D+3D)/F001/T2/0001.jpg": None,  # not coded
    "Sequences(2D+3D)/M009/T8/100.jpg": None,  # no image 0: named by its frame
}


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_frame_one_is_picture_zero_and_nine_is_not_coded(read):
    table = read("bp4d", FILES)
    assert table.column_names == ["picture", "subject", "task", "AU1", "AU2", "AU12", "AU24"], "AU3 is coded nowhere"
    assert rows(table) == [
        ("Sequences(2D+3D)/F001/T1/0001.jpg", "F001", "T1", False, True, True, None),
        ("Sequences(2D+3D)/F001/T1/0002.jpg", "F001", "T1", None, None, None, None),
        ("Sequences(2D+3D)/M009/T8/100.jpg", "M009", "T8", True, None, False, True),
    ]


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match=r"no parts of its own; expected no part \(its column 'subject' tells"):
        read("bp4d", FILES, part="train")
    with pytest.raises(UserError, match="says only whether an action unit occurs"):
        read("bp4d", FILES, intensity=2)
    with pytest.raises(UserError, match=f"{CODES}': line 3: found 'the code 3'; expected one of 0, 1, 9"):
        read("bp4d", FILES | {CODES: "0,1\n2,0\n3,3\n"})
    with pytest.raises(UserError, match=f"{CODES}': line 1: found 'frame,AU1'"):
        read("bp4d", FILES | {CODES: "frame,AU1\n2,0\n"})
    with pytest.raises(UserError, match=f"{CODES}': line 1: found 'AU1 twice'"):
        read("bp4d", FILES | {CODES: "0,1,1\n2,0,0\n"})
    with pytest.raises(UserError, match=r"there is no 'AUCoding/AU_OCC/F001_T1.csv', .*; found Sequences"):
        read("bp4d", {name: text for name, text in FILES.items() if not text})
