"""CUB-200-2011."""

import pytest

from pipelines.base.errors import UserError

PICTURES = [
    "001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg",
    "001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg",
    "002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg",
]
LABELS = "CUB_200_2011/attributes/image_attribute_labels.txt"
FILES = {
    "attributes.txt": "1 has_bill_shape::curved_(up_or_down)\n2 has_bill_shape::dagger\n",
    "CUB_200_2011/images.txt": "".join(f"{i} {picture}\n" for i, picture in enumerate(PICTURES, 1)),
    "CUB_200_2011/classes.txt": "1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n",
    "CUB_200_2011/image_class_labels.txt": "1 1\n2 1\n3 2\n",
    "CUB_200_2011/train_test_split.txt": "1 0\n2 1\n3 1\n",
    LABELS: "1 1 1 3 27.7080\n1 2 0 1 27.7080\n2 1 0 1 0  1.509\n2 2 1 4 0  3.535\n3 1 0 4 8.1\n",
    **{f"CUB_200_2011/images/{picture}": None for picture in PICTURES},
}
FIELDS = ["picture", "species", "has_bill_shape::curved_(up_or_down)", "has_bill_shape::dagger"]


def rows(table):
    return [tuple(row.values()) for row in table.to_pylist()]


def test_what_was_not_visible_is_not_annotated_and_a_zero_too_many_is_read_over(read):
    table = read("cub_200_2011", FILES)
    assert table.column_names == FIELDS
    assert rows(table) == [
        (f"CUB_200_2011/images/{PICTURES[0]}", "Black_footed_Albatross", True, None),
        (f"CUB_200_2011/images/{PICTURES[1]}", "Black_footed_Albatross", None, True),
        (f"CUB_200_2011/images/{PICTURES[2]}", "Laysan_Albatross", False, None),
    ]


def test_parts_are_what_train_test_split_says(read):
    assert rows(read("cub_200_2011", FILES, part="test")) == [
        (f"CUB_200_2011/images/{PICTURES[0]}", "Black_footed_Albatross", True, None)
    ]
    assert len(read("cub_200_2011", FILES, part="train")) == 2


def test_the_names_of_attributes_are_found_inside_the_folder_too_and_its_name_may_be_missing(read):
    files = {name.removeprefix("CUB_200_2011/"): content for name, content in FILES.items()}
    files["attributes/attributes.txt"] = files.pop("attributes.txt")
    table = read("cub_200_2011", files)
    assert table.column_names == FIELDS
    assert table["picture"][0].as_py() == f"images/{PICTURES[0]}"


def test_higher_ranks_come_from_the_users_table(read):
    table = read("cub_200_2011", FILES | {"ranks.csv": "genus,species,order\nPhoebastria,Laysan_Albatross,\n"})
    assert table.column_names == [*FIELDS[:2], "genus", "order", *FIELDS[2:]]
    assert table["genus"].to_pylist() == [None, None, "Phoebastria"]
    assert table["order"].to_pylist() == [None] * 3
    with pytest.raises(UserError, match=r"line 2: found 'Laysan_Albatros'.*did you mean 'Laysan_Albatross'"):
        read("cub_200_2011", FILES | {"ranks.csv": "species,genus\nLaysan_Albatros,Phoebastria\n"})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("4 1 0 4 8.1", "line 3: found 'picture 4'; expected an id of images.txt"),
        ("3 3 0 4 8.1", "line 3: found 'attribute 3'; expected an id of attributes.txt"),
        ("3 1 2 4 8.1", "line 3: found 'present 2'; expected 0 or 1"),
        ("3 1 0 0 8.1", "line 3: found 'certainty 0'"),
        ("3 1 0 4 7 8.1", "line 3: found '3 1 0 4 7 8.1'; expected 'image attribute present certainty seconds'"),
        ("3 1 0", "line 3: found '3 1 0'"),
    ],
)
def test_a_malformed_line_of_the_labels_is_told_by_its_number(read, line, told):
    with pytest.raises(UserError, match=told):
        read("cub_200_2011", FILES | {LABELS: f"1 1 1 3 27.7\n2 1 0 1 0  1.509\n{line}\n1 2 0 1 0  1.509\n"})


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match="part 'val', which the set does not have; valid: train, test"):
        read("cub_200_2011", FILES, part="val")
    with pytest.raises(UserError, match=r"image_class_labels.txt': line 2: found 'the code 3'; expected one of 1, 2"):
        read("cub_200_2011", FILES | {"CUB_200_2011/image_class_labels.txt": "3 1\n1 3\n2 1\n"})
    with pytest.raises(UserError, match=r"there is no 'attributes/attributes.txt' or 'attributes.txt'"):
        read("cub_200_2011", {name: text for name, text in FILES.items() if name != "attributes.txt"})
