"""Grocery Store."""

from collections import Counter

import pytest

from pipelines.base.errors import UserError
from pipelines.sources.published.grocery_store import GroceryStore
from pipelines.sources.tree import Tree

PICTURES = [
    "train/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg",
    "train/Packages/Milk/Arla-Standard-Milk/Arla-Standard-Milk_002.jpg",
    "val/Vegetables/Leek/Leek_001.jpg",
    "test/Fruit/Apple/Golden-Delicious/Golden-Delicious_001.jpg",
]
FILES = {
    "classes.csv": (
        "Class Name (str),Class ID (int),Coarse Class Name (str),Coarse Class ID (int),Iconic Image Path (str),"
        "Product Description Path (str)\r\n"
        "Golden-Delicious,0,Apple,0,/iconic/a.jpg,/iconic/a.txt\r\n"
        "Arla-Standard-Milk,34,Milk,21,/iconic/b.jpg,/iconic/b.txt\r\n"
        "Leek,74,Leek,37,/iconic/c.jpg,/iconic/c.txt\r\n"
    ),
    "train.txt": f"{PICTURES[0]}, 0, 0\n{PICTURES[1]}, 34, 21\n",
    "val.txt": f"{PICTURES[2]}, 74, 37\n",
    "test.txt": f"{PICTURES[3]}, 0, 0\n",
    **dict.fromkeys(PICTURES),
}


def test_a_picture_has_its_class_its_coarse_class_and_the_family_of_its_path(read):
    assert read("grocery_store", FILES).to_pylist() == [
        {"picture": PICTURES[0], "class": "Golden-Delicious", "coarse_class": "Apple", "family": "Fruit"},
        {"picture": PICTURES[1], "class": "Arla-Standard-Milk", "coarse_class": "Milk", "family": "Packages"},
        {"picture": PICTURES[2], "class": "Leek", "coarse_class": "Leek", "family": "Vegetables"},
        {"picture": PICTURES[3], "class": "Golden-Delicious", "coarse_class": "Apple", "family": "Fruit"},
    ]


def test_a_part_is_read_alone_and_below_a_folder_of_the_archive(read):
    below = {f"grocery-store/{name}": content for name, content in FILES.items()}
    assert read("grocery_store", below, part="val")["picture"].to_pylist() == [f"grocery-store/{PICTURES[2]}"]


def test_a_mistake_is_told_with_what_was_found_and_what_would_be_right(read):
    with pytest.raises(UserError, match=r"found part 'trains'.*did you mean 'train'\?"):
        read("grocery_store", FILES, part="trains")
    with pytest.raises(UserError, match="no action units; expected no intensity"):
        read("grocery_store", FILES, intensity=1)
    with pytest.raises(UserError, match=r"no 'classes.csv', .*; found test.txt, test/, train.txt"):
        read("grocery_store", {name: text for name, text in FILES.items() if name != "classes.csv"})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            f"{PICTURES[0]}, 0",
            "'train.txt': line 2: found 'train/Fruit.*; expected 'picture, class id, coarse class id'",
        ),
        (f"{PICTURES[0]}, x, 0", r"'train.txt': line 2: found 'x'"),
        (f"{PICTURES[0]}, 81, 0", r"'train.txt': line 2: found 'the code 81'; expected one of 0, 34, 74"),
        ("", "'train.txt': line 2: found ''"),
    ],
)
def test_a_malformed_line_is_told_by_its_number(read, line, told):
    with pytest.raises(UserError, match=told):
        read("grocery_store", FILES | {"train.txt": f"{PICTURES[0]}, 0, 0\n{line}\n{PICTURES[0]}, 0, 0\n"})


def test_the_real_set_is_read_whole(grocery_archive):
    tree = Tree(str(grocery_archive))
    table = GroceryStore(kind="grocery_store", path="grocery-store.zip").read_table(tree)
    assert Counter(name.split("/")[1] for name in table["picture"].to_pylist()) == {
        "train": 2640,
        "val": 296,
        "test": 2485,
    }
    assert set(tree.find(table["picture"].combine_chunks())["refused"].to_pylist()) == {None}
    assert [len(set(table[field].to_pylist())) for field in ("class", "coarse_class", "family")] == [81, 43, 3]
    assert {row["coarse_class"] for row in table.to_pylist() if row["class"] == "Granny-Smith"} == {"Apple"}
