"""Aff-Wild2 in the layout of the ABAW competitions."""

import pytest

from pipelines.base.errors import UserError

EXPRESSIONS = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n"
TRAIN = "EXPR_Classification_Challenge/Train_Set/12-24-1920x1080.txt"
FILES = {
    TRAIN: EXPRESSIONS + "4\n-1\n7\n0\n",
    "AU_Detection_Challenge/Train_Set/12-24-1920x1080.txt": "AU1,AU2,AU12\n0,1,-1\n1,0,0\n-1,-1,-1\n",
    "VA_Estimation_Challenge/Validation_Set/12-24-1920x1080.txt": "valence,arousal\n0.602,0.389\n-5,-5\n",
    "VA_Estimation_Challenge/Validation_Set/5-60-1920x1080_left.txt": "valence,arousal\n-0.5,1\n",
    "cropped_aligned/12-24-1920x1080/00001.jpg": None,
    "cropped_aligned/12-24-1920x1080/00002.jpg": None,
    "cropped_aligned/12-24-1920x1080/00004.jpg": None,  # no face was found in frame 3
    "cropped_aligned/5-60-1920x1080_left/00001.jpg": None,
    "cropped_aligned/never_annotated/00001.jpg": None,
}
FIELDS = ["picture", "video", "expression", "AU1", "AU2", "AU12", "valence", "arousal"]


def rows(table):
    assert table.column_names == FIELDS
    return sorted(tuple(row.values()) for row in table.to_pylist())


def test_a_frame_has_all_that_it_is_annotated_for(read):
    video = "12-24-1920x1080"
    assert rows(read("aff_wild2", FILES)) == [
        (f"cropped_aligned/{video}/00001.jpg", video, "happiness", False, True, None, 0.602, 0.389),
        (f"cropped_aligned/{video}/00002.jpg", video, None, True, False, False, None, None),
        (f"cropped_aligned/{video}/00004.jpg", video, "neutral", None, None, None, None, None),
        (
            "cropped_aligned/5-60-1920x1080_left/00001.jpg",
            "5-60-1920x1080_left",
            *[None] * 4,
            -0.5,
            1.0,
        ),
    ]


def test_with_a_part_only_its_annotations_are_read(read):
    train = read("aff_wild2", FILES, part="train")
    assert len(train) == 3
    assert train["valence"].null_count == 3
    val = read("aff_wild2", FILES, part="val")
    assert sorted(val["valence"].drop_null().to_pylist()) == [-0.5, 0.602]
    assert val["expression"].null_count == len(val)


def test_other_competitions_folders_and_orders_of_expressions_are_read(read):
    files = {
        "annotations/EXPR_Set/Training_Set/a.txt": "Neutral,Surprise,Anger\n1\n2\n",
        "cropped_aligned_new_50_vids/a/00001.jpg": None,
        "cropped_aligned_new_50_vids/a/00002.jpg": None,
    }
    assert read("aff_wild2", files)["expression"].to_pylist() == ["surprise", "anger"]


def test_mistakes_are_told(read):
    with pytest.raises(UserError, match="part 'test', which the set does not have; valid: train, val"):
        read("aff_wild2", FILES, part="test")
    with pytest.raises(UserError, match=f"{TRAIN}': line 3: found 'the code 8'"):
        read("aff_wild2", FILES | {TRAIN: EXPRESSIONS + "0\n8\n"})
    with pytest.raises(UserError, match=f"{TRAIN}': line 3: found ''"):
        read("aff_wild2", FILES | {TRAIN: EXPRESSIONS + "0\n\n1\n"})
    with pytest.raises(UserError, match="line 1: found 'joy'"):
        read("aff_wild2", FILES | {TRAIN: "Neutral,Joy\n0\n"})
    with pytest.raises(UserError, match="found the video annotated twice"):
        read("aff_wild2", FILES | {f"6th/{TRAIN}": FILES[TRAIN]})
    with pytest.raises(UserError, match="only whether it occurs"):
        read("aff_wild2", FILES, intensity=2)
    with pytest.raises(UserError, match=r"there is no 'cropped_aligned/VIDEO/00001.jpg'"):
        read("aff_wild2", {name: text for name, text in FILES.items() if text})
