"""UT Zappos50K."""

import pytest

from pipelines.base.errors import UserError

META = "ut-zap50k-data/meta-data.csv"
OXFORD = "ut-zap50k-images-square/Shoes/Oxfords/Bostonian/100627.72.jpg"
BOOT = "ut-zap50k-images-square/Boots/Knee High/A. Testoni./7160933.9.jpg"
FILES = {
    META: (
        "CID,Category,SubCategory,HeelHeight,Insole,Closure,Gender,Material,ToeStyle\n"
        "100627-72,Shoes,Oxfords,,,Lace up,Men,Rubber,Capped Toe;Round Toe\n"
        "7160933-9,Boots,Knee High,4in - 4 3/4in,Leather,Zipper,Women,,\n"
        "1-2,Slippers,Boot,,,,,,\n"
    ),
    OXFORD: None,
    BOOT: None,
    "ut-zap50k-images/Shoes/Oxfords/Bostonian/100627.72.jpg": None,
}


def test_a_picture_is_found_by_its_id_and_values_of_several_parts_are_joined(read):
    fields = [
        "picture",
        "category",
        "sub_category",
        "heel_height",
        "insole",
        "closure",
        "gender",
        "material",
        "toe_style",
    ]
    rows = [
        (OXFORD, "Shoes", "Oxfords", None, None, "Lace up", "Men", "Rubber", "Capped Toe|Round Toe"),
        (BOOT, "Boots", "Knee High", "4in - 4 3/4in", "Leather", "Zipper", "Women", None, None),
        ("1.2.jpg", "Slippers", "Boot", *[None] * 6),
    ]
    assert read("ut_zappos50k", FILES).to_pylist() == [dict(zip(fields, row, strict=True)) for row in rows]


def test_the_pictures_that_are_not_square_are_read_where_they_are_alone(read):
    files = {name: content for name, content in FILES.items() if "square" not in name}
    assert read("ut_zappos50k", files)["picture"][0].as_py() == "ut-zap50k-images/Shoes/Oxfords/Bostonian/100627.72.jpg"


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match="no parts of its own; expected no part"):
        read("ut_zappos50k", FILES, part="train")
    with pytest.raises(UserError, match="line 1: found 'CID,Category'; expected a header with SubCategory, HeelHeight"):
        read("ut_zappos50k", FILES | {META: "CID,Category\n1-2,Shoes\n"})
    with pytest.raises(UserError, match=r"there is no 'ut-zap50k-images-square/"):
        read("ut_zappos50k", {META: FILES[META]})
