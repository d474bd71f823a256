"""CelebA."""

import pytest

from pipelines.base.errors import UserError

FILES = {
    "Anno/list_attr_celeba.txt": (
        "3\n5_o_Clock_Shadow Male Smiling \n000001.jpg -1 -1  1\n000002.jpg  1  1 -1 \n000003.jpg -1  1 -1\n"
    ),
    "Eval/list_eval_partition.txt": "000003.jpg 2\n000001.jpg 0\n000002.jpg 1\n",
    "Anno/identity_CelebA.txt": "000001.jpg 2880\n000003.jpg 8692\n",
    "Img/img_align_celeba/000001.jpg": None,
    "Img/img_align_celeba/000002.jpg": None,
    "Img/img_align_celeba/000003.jpg": None,
}


def test_minus_one_is_no_and_a_missing_identity_is_null(read):
    assert read("celeba", FILES).to_pylist() == [
        {
            "picture": f"Img/img_align_celeba/00000{i}.jpg",
            "5_o_Clock_Shadow": shadow,
            "Male": male,
            "Smiling": smiling,
            "identity": identity,
        }
        for i, shadow, male, smiling, identity in [
            (1, False, False, True, "2880"),
            (2, True, True, False, None),
            (3, False, True, False, "8692"),
        ]
    ]


@pytest.mark.parametrize(("part", "picture"), [("train", 1), ("val", 2), ("test", 3)])
def test_a_part_is_what_the_partition_says(read, part, picture):
    assert read("celeba", FILES, part=part)["picture"].to_pylist() == [f"Img/img_align_celeba/00000{picture}.jpg"]


def test_the_files_may_lie_beside_the_pictures_and_the_identities_be_missing(read):
    flat = {name.split("/", 1)[1]: content for name, content in FILES.items() if "identity" not in name}
    table = read("celeba", flat)
    assert table.column_names == ["picture", "5_o_Clock_Shadow", "Male", "Smiling"]
    assert table["picture"][0].as_py() == "img_align_celeba/000001.jpg"


def test_mistakes_are_told(read):
    attributes = "Anno/list_attr_celeba.txt"
    with pytest.raises(UserError, match="line 4: found 'the code 0'; expected one of -1, 1"):
        read("celeba", FILES | {attributes: "2\nMale\n000001.jpg 1\n000002.jpg 0\n"})
    with pytest.raises(
        UserError, match=r"list_eval_partition.txt': line 2: found 'the code 3'; expected one of 0, 1, 2"
    ):
        read("celeba", FILES | {"Eval/list_eval_partition.txt": "000001.jpg 0\n000002.jpg 3\n"}, part="train")
    with pytest.raises(UserError, match="found 1 rows; expected 2, as its line 1 says"):
        read("celeba", FILES | {attributes: "2\nMale\n000001.jpg 1\n"})
    with pytest.raises(UserError, match="line 1: found 'Male'; expected the number of images"):
        read("celeba", FILES | {attributes: "Male\n000001.jpg 1\n"})
    with pytest.raises(UserError, match=r"there is no 'img_align_celeba/000001.jpg', .*; found Anno/, Eval/"):
        read("celeba", {name: text for name, text in FILES.items() if text})
