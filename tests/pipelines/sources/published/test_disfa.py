"""DISFA."""

import pytest

from pipelines.base.errors import UserError

LABELS = "ActionUnit_Labels/SN001/SN001_au12.txt"
FILES = {
    "ActionUnit_Labels/SN001/SN001_au1.txt": "1,0\n2,1\n3,2\n4,5\n",
    LABELS: "1,5\n2,0\n3,1\n4,0\n",
    "ActionUnit_Labels/SN032/SN032_au1.txt": "1,2\n2,0\n",
    "ActionUnit_Labels/SN032/SN032_au12.txt": "1,0\n2,3\n",
    "Images/SN001/1.jpg": None,
    "Images/SN001/2.jpg": None,
    "Images/SN001/3.jpg": None,
    "Images/SN001/5.jpg": None,  # no line
    "Images/RightVideoSN032_comp/RightVideoSN032_comp_00000.jpg": None,  # counted from 0
    "Images/RightVideoSN032_comp/RightVideoSN032_comp_00001.jpg": None,
    "Images/LeftVideoSN032_comp/LeftVideoSN032_comp_00002.jpg": None,
}


def rows(table):
    assert table.column_names == ["picture", "subject", "AU1", "AU12"]
    return [tuple(row.values()) for row in table.to_pylist()]


def test_an_action_unit_holds_from_an_intensity_of_two(read):
    assert rows(read("disfa", FILES)) == [
        ("Images/LeftVideoSN032_comp/LeftVideoSN032_comp_00002.jpg", "SN032", False, True),
        ("Images/RightVideoSN032_comp/RightVideoSN032_comp_00000.jpg", "SN032", True, False),
        ("Images/RightVideoSN032_comp/RightVideoSN032_comp_00001.jpg", "SN032", False, True),
        ("Images/SN001/1.jpg", "SN001", False, True),
        ("Images/SN001/2.jpg", "SN001", False, False),
        ("Images/SN001/3.jpg", "SN001", True, False),
    ]


@pytest.mark.parametrize(
    ("intensity", "au1", "au12"),
    [(1, [False, True, True], [True, False, True]), (5, [False] * 3, [True, False, False])],
)
def test_the_threshold_is_the_sources(read, intensity, au1, au12):
    table = read("disfa", {name: text for name, text in FILES.items() if "032" not in name}, intensity=intensity)
    assert (table["AU1"].to_pylist(), table["AU12"].to_pylist()) == (au1, au12)


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match=r"no parts of its own; expected no part \(its column 'subject' tells"):
        read("disfa", FILES, part="train")
    with pytest.raises(UserError, match=f"{LABELS}': line 2: found 'the code 6'"):
        read("disfa", FILES | {LABELS: "1,5\n2,6\n3,0\n4,0\n"})
    with pytest.raises(UserError, match=f"{LABELS}': line 2: found '2'; expected 'frame,intensity'"):
        read("disfa", FILES | {LABELS: "1,5\n2\n3,0\n4,0\n"})
    with pytest.raises(UserError, match=f"{LABELS}': found other frames than the subject's other files have"):
        read("disfa", FILES | {LABELS: "1,5\n"})
    with pytest.raises(UserError, match="there is no image of a labelled frame"):
        read("disfa", {name: text for name, text in FILES.items() if text})
