"""EmotioNet."""

import pytest

from pipelines.base.errors import UserError

LIST = "EmotioNet_FACS_aws_2020_24600.csv"
URL = "https://cbcsl-images.s3.amazonaws.com/emotionet/N_0000000001/N_0000000001"
FILES = {
    LIST: (
        "URL,URL orig, 'AU 1', 'AU 2', 'AU 3', 'AU 12'\n"
        f"'{URL}_00001.jpg','http://a.org/a.jpg',0,1,999,999\n"
        f"'{URL}_00002.jpg','http://a.org/b.jpg',999,999,999,1\n"
        f"'{URL}_00003.jpg','http://a.org/c.jpg',999,999,999,999\n"
    ),
    "images/N_0000000001_00001.jpg": None,
    "images/N_0000000001/N_0000000001_00003.jpg": None,
}


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_999_is_not_annotated_and_a_picture_is_found_by_the_file_name_of_its_url(read):
    table = read("emotionet", FILES)
    assert table.column_names == ["picture", "AU1", "AU2", "AU12"], "AU3 is annotated nowhere"
    assert rows(table) == [
        ("images/N_0000000001_00001.jpg", False, True, None),
        ("N_0000000001_00002.jpg", None, None, True),
        ("images/N_0000000001/N_0000000001_00003.jpg", None, None, None),
    ]


def test_lists_without_a_header_have_sixty_action_units(read):
    codes = ["999"] * 60
    codes[11], codes[42] = "1", "0"
    files = {
        "dataFile_0001.txt": "\t".join([f"{URL}_00001.jpg", "http://a.org/a,1.jpg", *codes]) + "\n",
        "dataFile_0002.txt": "\t".join([f"{URL}_00002.jpg", "http://a.org/b.jpg", *codes]) + "\n",
        "images/N_0000000001_00001.jpg": None,
    }
    table = read("emotionet", files)
    assert table.column_names == ["picture", "AU12", "AU43"]
    assert rows(table) == [
        ("images/N_0000000001_00001.jpg", True, False),
        ("N_0000000001_00002.jpg", True, False),
    ]


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match="no parts of its own"):
        read("emotionet", FILES, part="train")
    with pytest.raises(UserError, match="only whether it occurs"):
        read("emotionet", FILES, intensity=2)
    with pytest.raises(UserError, match="line 3: found 'the code 2'; expected one of 0, 1, 999"):
        read("emotionet", FILES | {LIST: f"URL,URL orig,AU 1\n{URL}_1.jpg,x,0\n{URL}_2.jpg,x,2\n"})
    with pytest.raises(UserError, match=r"no image 'N_0000000001_00001.jpg', nor that of any other URL"):
        read("emotionet", {LIST: FILES[LIST]})
