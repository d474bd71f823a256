"""RAF-DB."""

import pytest

from pipelines.base.errors import UserError

LIST = "basic/EmoLabel/list_patition_label.txt"
FILES = {
    LIST: "train_00001.jpg 5\ntrain_00002.jpg 7 \ntest_0001.jpg 4\n",
    "compound/EmoLabel/list_patition_label.txt": "train_0001.jpg 11\n",
    "basic/Image/aligned/train_00001_aligned.jpg": None,
    "basic/Image/original/train_00001.jpg": None,
}


def test_the_aligned_faces_have_the_expressions_of_the_basic_set(read):
    assert read("raf_db", FILES).to_pylist() == [
        {"picture": "basic/Image/aligned/train_00001_aligned.jpg", "expression": "sadness"},
        {"picture": "basic/Image/aligned/train_00002_aligned.jpg", "expression": "neutral"},
        {"picture": "basic/Image/aligned/test_0001_aligned.jpg", "expression": "happiness"},
    ]


def test_the_originals_are_read_where_no_aligned_ones_are_there(read):
    files = {name: content for name, content in FILES.items() if "aligned" not in name}
    assert read("raf_db", files, part="test")["picture"].to_pylist() == ["basic/Image/original/test_0001.jpg"]


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match="part 'val', which the set does not have; valid: train, test"):
        read("raf_db", FILES, part="val")
    with pytest.raises(UserError, match="line 2: found 'the code 8'; expected one of 1, 2, 3, 4, 5, 6, 7"):
        read("raf_db", FILES | {LIST: "train_00001.jpg 5\ntrain_00002.jpg 8\n"})
    with pytest.raises(
        UserError, match=r"line 2: found 'valid_1.jpg'; expected a name that starts with train_ or test_"
    ):
        read("raf_db", FILES | {LIST: "train_00001.jpg 5\nvalid_1.jpg 1\n"})
    with pytest.raises(UserError, match=r"there is no 'basic/EmoLabel/list_patition_label.txt' or .*; found Image/"):
        read("raf_db", {"Image/aligned/train_00001_aligned.jpg": None})
