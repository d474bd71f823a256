"""Looking at the data before and after their ingest: the counts are the data's own, and the images too."""

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.text import Text
from typer.testing import CliRunner

from mtlcore import Multilabel
from pipelines import commands as steps
from pipelines.blocks.label_encoding import label_array
from pipelines.cli import app
from pipelines.ingest.ingest import ingest, ingested
from pipelines.ingest.leakage import input_digests
from pipelines.inspection.contact_sheet import draw_sheet
from pipelines.inspection.inspection import Inspection, inspection_of, open_data_sets
from pipelines.inspection.notebook import inspection_html
from pipelines.inspection.samples import Caption, Sample, Samples, draw_samples
from pipelines.inspection.tables import inspection_text
from tests.commands import environment, kindred_here
from tests.pipelines.ingest_case import TRAITS, case_of, picture, pixels, write

KIND = {"from": "folder"}
DATA = {
    "kinds": {"source": {"kind": "image_folder", "path": ["kinds", "more-kinds"]}, "labels": {"kind": KIND}},
    "traits": {"source": {"kind": "csv", "path": "traits.csv"}, "labels": {"traits": {"from": "columns"}}},
    "test": {
        "source": {"kind": "image_folder", "path": "test"},
        "labels": {"kind": KIND, "traits": {"from": "folder", "through": "kind"}},
        "split": "test",
    },
}
MILD = ["ingest.most_quarantined=0.9", "ingest.leakage=remove", "ingest.unknown_labels=quarantine"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Kinds: four cats and a dog, in two places, and one broken. Traits: one all known, one half, one not at all, one
    of a cat that stands among the kinds too, a wrong one, a missing file. Test: a cat and a dog of the kinds, and
    a dog."""
    root = tmp_path_factory.mktemp("data")
    for i in range(4):
        write(root / "kinds" / "cat" / f"{i}.png", picture(i))
    write(root / "kinds" / "cat" / "broken.png", b"no image at all")
    write(root / "more-kinds" / "dog" / "0.png", picture(10))
    for i in range(4):
        write(root / "pictures" / f"{i}.png", picture(20 + i))
    write(root / "pictures" / "a-cat.png", picture(2))
    rows = ["0.png,1,0", "1.png,1,", "2.png,,", "a-cat.png,1,0", "3.png,1,perhaps", "gone.png,0,0"]
    write(root / "traits.csv", "\n".join(["file,furry,flies", *(f"pictures/{row}" for row in rows)]))
    for folder, seed in (("cat", 3), ("dog", 10), ("dog", 30)):
        write(root / "test" / folder / f"{seed}.png", picture(seed))
    return root


@pytest.fixture
def before(root, tmp_path):
    return case_of(root, tmp_path, DATA, *MILD)


@pytest.fixture
def after(before, ray_local):
    ingest(before)
    return before


def counted(inspection):
    """Return what an inspection says of every dataset, in short."""
    return {
        of.name: (
            of.split,
            (of.rows_in, of.rows, of.quarantined, of.excluded),
            {reason.kind: reason.rows for reason in of.reasons},
            {task.task: (task.annotated, [(c.label, c.holds, c.annotated) for c in task.labels]) for task in of.tasks},
        )
        for of in inspection.data_sets
    }


def overlaps(inspection):
    return {
        of.split: (of.by, of.inputs, of.rows, dict(zip(of.tasks, of.counts, strict=True))) for of in inspection.overlap
    }


def test_before_the_ingest_rows_are_counted_as_listed_and_by_row(before):
    found = steps.inspect(before, pictures=0)
    assert not found.ingested
    assert counted(found) == {
        "kinds": ("train", (6, 6, 0, 0), {}, {"kind": (6, [("cat", 5, 6), ("dog", 1, 6)])}),
        "traits": (
            "train",
            (6, 4, 2, 0),
            {"missing file": 1, "wrong label": 1},
            {"traits": (3, [("furry", 3, 3), ("flies", 0, 2)])},
        ),
        "test": (
            "test",
            (3, 3, 0, 0),
            {},
            {"kind": (3, [("cat", 1, 3), ("dog", 2, 3)]), "traits": (3, [("furry", 3, 3), ("flies", 0, 3)])},
        ),
    }
    assert {place: of.rows_in for place, of in found.data_sets[0].sources.items()} == {"kinds": 5, "more-kinds": 1}
    assert overlaps(found) == {
        "train": ("row", 10, 10, {"kind": (6, 0), "traits": (0, 3)}),
        "test": ("row", 3, 3, {"kind": (3, 3), "traits": (3, 3)}),
    }
    assert found.leakage is None
    words = inspection_text(found)
    assert "inputs have not been read yet" in words
    assert "known only after the ingest" in words


def test_after_the_ingest_rows_are_counted_as_they_take_part_and_overlap_by_input(after):
    found = steps.inspect(after, pictures=0)
    assert found.ingested
    assert counted(found)["kinds"] == (
        "train",
        (6, 5, 1, 2),
        {"no image": 1},
        {"kind": (3, [("cat", 3, 3), ("dog", 0, 3)])},
    )
    assert counted(found)["traits"][1:] == (
        (6, 4, 2, 0),
        {"missing file": 1, "wrong label": 1},
        {"traits": (3, [("furry", 3, 3), ("flies", 0, 2)])},
    )
    # the cat that is among the kinds and the traits is one input, annotated for both
    assert overlaps(found) == {
        "train": ("input", 6, 7, {"kind": (3, 1), "traits": (1, 3)}),
        "test": ("input", 3, 3, {"kind": (3, 3), "traits": (3, 3)}),
    }
    for name, manifest in ingested(after).manifests.items():
        (of,) = (one for one in found.data_sets if one.name == name)
        histograms = {task.task: {count.label: count.holds for count in task.labels} for task in of.tasks}
        assert histograms == {task: counts.histogram for task, counts in manifest.labels.items()}
        assert {task.task: task.annotated for task in of.tasks} == {t: c.annotated for t, c in manifest.labels.items()}


@pytest.mark.parametrize(("what", "done"), [("remove", "removed"), ("keep", "kept")])
def test_leakage_tells_how_many_rows_stand_in_which_later_split_and_what_was_done(
    root, tmp_path, ray_local, what, done
):
    case = case_of(root, tmp_path, DATA, *MILD, f"ingest.leakage={what}")
    ingest(case)
    found = steps.inspect(case, pictures=0)
    (leak,) = found.leakage
    assert (leak.data_set, leak.split, leak.also_in, leak.also_in_split) == ("kinds", "train", "test", "test")
    assert (leak.rows, leak.done) == (2, done)
    (line,) = (line for line in inspection_text(found).splitlines() if "kinds (train)" in line)
    assert line.split()[:5] == ["kinds", "(train)", "2", "test", "(test)"]
    assert done in line


def test_a_row_that_would_stop_the_ingest_is_counted_and_said_to(root, tmp_path):
    case = case_of(root, tmp_path, DATA, "ingest.most_quarantined=0.1")
    found = steps.inspect(case, pictures=0)
    (traits,) = (of for of in found.data_sets if of.name == "traits")
    assert [words.split(" (")[0] for words in traits.stops] == [
        "1 row with a wrong label",
        "2 of 6 rows refused; at most 0.1 of them may",
    ]
    assert "the ingest will stop: 1 row with a wrong label" in inspection_text(found)
    mild = steps.inspect(case_of(root, tmp_path, DATA, *MILD), pictures=0)
    assert [of.stops for of in mild.data_sets] == [(), (), ()]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_command_exits_with_1_where_it_says_that_the_ingest_will_stop(root, tmp_path, form):
    case_of(root, tmp_path, DATA)
    command = ["inspect", str(tmp_path / "pets.yaml"), "--pictures", "0", *form]
    stopped = CliRunner().invoke(app, [*command, "--set", "ingest.most_quarantined=0.1"])
    assert stopped.exit_code == 1
    assert "1 row with a wrong label" in " ".join(stopped.stdout.split()), "what it found is shown in any case"
    mild = CliRunner().invoke(app, [*command, *(word for setting in MILD for word in ("--set", setting))])
    assert mild.exit_code == 0, mild.output


def test_the_sheet_shows_the_pixels_of_every_drawn_picture_before_and_after(before, ray_local, tmp_path):
    """Every image of the test split, read back from the PNG where its tile is."""
    shown = {}
    for when in ("before", "after"):
        if when == "after":
            ingest(before)
        opened = open_data_sets(before)
        samples = draw_samples(before, opened, pictures=3, seed=0)
        sheet = draw_sheet("pets", "", samples, before.input.shape)
        drawn = [sample for of in samples for sample in of.samples]
        assert len(sheet.pictures) == len(drawn) == 9
        image = Image.open(io.BytesIO(sheet.png))
        for sample, at in zip(drawn, sheet.pictures, strict=True):
            tile = np.asarray(image.crop(at))
            assert tile.shape == (13 * 12, 13 * 10, 3), "enlarged by a whole number to about 160 pixels"
            if sample.problem is None:
                assert (tile[6::13, 6::13] == sample.picture.transpose(1, 2, 0)).all()
                assert (np.repeat(np.repeat(tile[6::13, 6::13], 13, 0), 13, 1) == tile).all(), "not blurred"
        shown[when] = {one.id: one.picture for of in samples if of.data_set == "test" for one in of.samples}
    assert {name: (shown["before"][name] == shown["after"][name]).all() for name in shown["before"]} == {
        "cat/3.png": True,
        "dog/10.png": True,
        "dog/30.png": True,
    }
    assert (shown["after"]["dog/30.png"].transpose(1, 2, 0) == pixels(30)).all()


def test_a_picture_that_cannot_be_read_is_a_grey_tile_with_the_reason(before):
    found = steps.inspect(before, pictures=6)
    problems = {tile.id: tile.problem for tile in found.sheet.tiles if tile.problem}
    assert problems == {"kinds/cat/broken.png": "no image: in no format that is read"}
    opened = open_data_sets(before)
    samples = draw_samples(before, opened, pictures=6, seed=0)
    sheet = draw_sheet("pets", "", samples, before.input.shape)
    (at,) = (i for i, one in enumerate(one for of in samples for one in of.samples) if one.problem)
    colours = np.asarray(Image.open(io.BytesIO(sheet.png)).crop(sheet.pictures[at])).reshape(-1, 3)
    assert np.ptp(colours.astype(int), axis=1).max() < 40, "grey"
    assert len(np.unique(colours, axis=0)) > 3, "with words on it"


def test_the_sheet_has_as_many_tiles_as_asked_for_or_all_of_a_smaller_data_set(before):
    found = steps.inspect(before, pictures=4)
    names = [tile.data_set for tile in found.sheet.tiles]
    assert {name: names.count(name) for name in DATA} == {"kinds": 4, "traits": 4, "test": 3}
    assert len({(tile.data_set, tile.id) for tile in found.sheet.tiles}) == len(names)


def test_the_sheet_is_the_same_for_the_same_seed_and_another_for_another(before, tmp_path):
    sheets = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        file = tmp_path / f"{name}.png"
        found = steps.inspect(before, pictures=2, seed=seed, sheet=str(file))
        assert found.sheet.file == str(file)
        sheets[name] = file.read_bytes()
    assert sheets["a"] == sheets["b"]
    assert sheets["a"] != sheets["c"]


def test_a_notebook_shows_counts_and_what_would_stop(before):
    seen = steps.inspect(before, pictures=0)
    html = seen._repr_html_()
    for data_set in seen.data_sets:
        assert f">{data_set.name}</td><td rowspan={len(data_set.tasks)}>{data_set.split}</td>" in html
        for task in data_set.tasks:
            assert f"<td>{task.task}</td><td>{task.annotated:,}</td>" in html
            assert all(f"{label.label} {label.holds:,}" in html for label in task.labels[:3])


def test_a_notebook_shows_a_number_that_no_row_has_and_says_of_alike_that_it_is_not_the_same():
    number = {"name": "age", "annotated": 0, "quantiles": (), "spread": 0.0}
    task = {"task": "age", "annotated": 0, "labels": (), "numbers": (number,)}
    leak = {"rows": 3, "data_set": "a", "also_in": "b", "also_in_split": "test", "done": "kept", "near": True}
    data_set = {"name": "a", "split": "train", "rows": 9, "quarantined": 0, "tasks": (task,), "stops": ()}
    content = {"case": "c", "ingested": True, "warnings": (), "data_sets": (data_set,), "leakage": (leak,)}
    html = inspection_html(content)
    assert "age -" in html
    assert "look like some of b" in html
    assert "stand in b" in inspection_html(content | {"leakage": (leak | {"near": False},)})


def test_not_annotated_is_not_no(before):
    samples = draw_samples(before, open_data_sets(before), pictures=6, seed=0)
    captions = {sample.id: sample.captions for of in samples for sample in of.samples}
    assert captions["pictures/0.png"] == (Caption("traits", ("furry",), ""),)
    assert captions["pictures/1.png"] == (Caption("traits", ("furry",), "not annotated: flies"),)
    assert captions["pictures/2.png"] == (Caption("traits", (), "not annotated"),)
    assert captions["kinds/cat/0.png"] == (Caption("kind", ("cat",), ""),)
    grey = np.zeros((3, 12, 10), np.uint8)
    sheets = {
        draw_sheet("", "", [Samples("d", "train", 1, (), (Sample("i", grey, None, (caption,)),))], (3, 12, 10)).png
        for caption in (Caption("t", (), ""), Caption("t", (), "not annotated"), Caption("t", ("a",), ""))
    }
    assert len(sheets) == 3


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 400, 10), (3, 300, 300), (3, 1, 900)])
@pytest.mark.parametrize("label", ["a" * 300, "has_bill_shape::" * 20, "größe [red] $x$ & <b>", " ", "line\nbreak"])
def test_a_sheet_takes_pictures_of_any_size_and_labels_of_any_length(shape, label):
    caption = Caption("task_with_a_name" * 9, tuple(f"{label}{i}" for i in range(99)), label)
    picture = np.full(shape, 200, np.uint8)
    samples = [Sample(label, picture, None, (caption,)), Sample("b", None, label, ())]
    sheet = draw_sheet(label, label, [Samples("d", "test", 2, (label,), tuple(samples))], shape)
    image = Image.open(io.BytesIO(sheet.png))
    assert image.width < 1600
    assert image.height < 1600
    for left, top, right, bottom in sheet.pictures:
        assert 0 < left < right < image.width
        assert 0 < top < bottom < image.height


def test_json_is_what_the_tables_show_and_the_sheet_lies_where_it_says(root, tmp_path):
    case = case_of(root, tmp_path, DATA, *MILD)
    settings = [word for setting in [*MILD, f"storage.path={tmp_path / 'store'}"] for word in ("--set", setting)]
    done = kindred_here("inspect", str(tmp_path / "pets.yaml"), *settings, "--json", "--pictures", "2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    found = Inspection.model_validate(json.loads(done.stdout))
    assert found == steps.inspect(case, pictures=2, seed=5)
    assert found.sheet.file == str(tmp_path / "store" / "inspect" / "pets.png")
    assert Image.open(found.sheet.file).format == "PNG"

    shown = kindred_here("inspect", str(tmp_path / "pets.yaml"), *settings, "--pictures", "2", "--seed", "5")
    assert shown.stdout == f"{inspection_text(found)}\nimages: {found.sheet.file}\n"
    lines = [" ".join(Text.from_ansi(line).plain.strip("│ ").split()) for line in shown.stdout.splitlines()]
    assert "6 rows in the source" in lines
    assert "kind: 6 of 6 rows annotated" in lines
    assert any(line.startswith("cat 5 83 % █") for line in lines)
    assert any(line.startswith("flies 0 of 2 0 %") for line in lines)
    assert any(line.startswith("1 missing file pictures/gone.png") for line in lines)
    assert "more-kinds 1 0 1" in lines


def test_no_ray_is_started_before_or_after_the_ingest(root, tmp_path, ray_local):
    case = case_of(root, tmp_path, DATA, *MILD)
    code = (
        "import sys\n"
        "from pipelines import commands as steps\n"
        "from pipelines.case.load import load_case\n"
        "found = steps.inspect(load_case(sys.argv[1], sys.argv[2:]))\n"
        "import ray\n"
        "print(found.ingested, len(found.sheet.tiles), ray.is_initialized())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "pets.yaml"), *MILD]
    for expected in ("False 13 False", "True 10 False"):
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        assert done.stdout.strip() == expected, done.stderr
        ingest(case)


def test_vectors_have_no_sheet(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.csv", "kind,furry,flies,f_0,f_1\ncat,1,0,0.5,1\ndog,,1,2,3\n")
    labels = {"kind": {"from": "column", "column": "kind"}, "traits": {"from": "columns"}}
    source = {"kind": "csv", "vector_columns": ["f_*"]}
    data = {
        name: {"source": source | {"path": f"{name}.csv"}, "labels": labels, "split": name}
        for name in ("train", "test")
    }
    case = case_of(tmp_path, tmp_path, data, input={"kind": "vector", "size": 2})
    found = steps.inspect(case)
    assert found.sheet is None
    assert counted(found)["train"][3]["traits"] == (2, [("furry", 1, 1), ("flies", 1, 2)])
    assert "no contact sheet: inputs are vectors" in inspection_text(found)
    assert not (tmp_path / "store" / "inspect").exists()


def test_the_embedded_case_is_written_to_be_looked_at(tmp_path):
    done = kindred_here("inspect", "digits", "--set", f"storage.path={tmp_path}", "--pictures", "1", "--json")
    assert done.returncode == 0, done.stderr
    found = Inspection.model_validate_json(done.stdout)
    assert {of.name: of.rows for of in found.data_sets} == {
        "digit_pictures": 50,
        "trait_pictures": 947,
        "validation_pictures": 300,
        "test_pictures": 500,
    }
    assert len(found.sheet.tiles) == 4


def test_of_a_long_vocabulary_the_most_and_the_least_frequent_are_shown(tmp_path):
    names = [f"trait_{i:03d}" for i in range(312)]
    for part in ("train", "test"):
        write(tmp_path / part / "0.png", picture(0 if part == "train" else 1))
        rows = [f"{part}/0.png", *("1" if i < 300 else "0" for i in range(312))]
        rows2 = [f"{part}/0.png", *("1" if i < 10 else "0" for i in range(312))]
        ids = [",".join(["id", "file", *names]), ",".join(["a", *rows]), ",".join(["b", *rows2])]
        write(tmp_path / f"{part}.csv", "\n".join(ids))
    source = {"kind": "csv", "id_column": "id"}
    data = {
        part: {"source": source | {"path": f"{part}.csv"}, "labels": {"traits": {"from": "columns"}}, "split": part}
        for part in ("train", "test")
    }
    tasks = {"traits": {"kind": "multilabel", "labels": names}}
    case = case_of(tmp_path, tmp_path, data, tasks=tasks, relatedness=[])
    words = inspection_text(inspection_of(case, open_data_sets(case)))
    assert len(words.splitlines()) < 60
    assert "trait_000 2 100 %" in " ".join(words.split())
    assert "trait_311 0 0 %" in " ".join(words.split())
    assert "trait_150" not in words
    assert "12 never hold" in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["inspect", "digts"], "error: digts: no such case file; did you mean 'digits'?"),
        (
            ["inspect", "digits", "--sheet", "sheet.jpg"],
            "--sheet: found 'sheet.jpg'; expected a file that ends in .png",
        ),
        (["inspect", "digits", "--sheet", "/dev/null/x.png"], "--sheet: /dev/null/x.png cannot be written"),
        (["inspect", "digits", "--seed", "-1"], "Invalid value for '--seed'"),
        (["inspect", "digits", "--pictures", "x"], "Invalid value for '--pictures'"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(arguments, words, tmp_path):
    done = kindred_here(*arguments, "--set", f"storage.path={tmp_path}")
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_source_that_cannot_be_listed_is_told(root, tmp_path):
    data = DATA | {"traits": DATA["traits"] | {"labels": {"traits": {"from": "column", "column": "trait"}}}}
    case_of(root, tmp_path, data)
    done = kindred_here("inspect", str(tmp_path / "pets.yaml"))
    assert done.returncode == 2
    assert "there is no column 'trait'" in done.stderr


def test_a_block_that_is_gone_is_told_with_what_makes_it_again(after, tmp_path):
    made = ingested(after)
    folder, manifest = made.folders["kinds"], made.manifests["kinds"]
    (tmp_path / "store" / "blocks" / folder.rpartition("/")[2] / manifest.blocks[0].file).unlink()
    done = kindred_here("inspect", str(tmp_path / "pets.yaml"), *(word for one in MILD for word in ("--set", one)))
    assert done.returncode == 2
    assert f"with {folder} deleted, `kindred ingest` makes its blocks again" in done.stderr


def test_inputs_are_counted_from_their_digests(after):
    """The numbers of the overlap again, from the digests of the blocks and the labels that were written by hand."""
    made = ingested(after)
    kept = {name: set(np.arange(of.rows)) - set(of.excluded) for name, of in made.manifests.items()}
    digests = {
        name: {d for i, d in enumerate(input_digests(made.folders[name], of).to_pylist()) if i in kept[name]}
        for name, of in made.manifests.items()
    }
    train = steps.inspect(after, pictures=0).overlap[0]
    assert train.inputs == len(digests["kinds"] | digests["traits"])
    assert train.counts[0][0] == len(digests["kinds"])
    assert train.counts[0][1] == len(digests["kinds"] & digests["traits"]) == 1
    assert set(TRAITS) == {"furry", "flies"}


def test_labels_of_a_block_are_minus_one_where_a_list_or_an_element_is_null():
    task = Multilabel("traits", TRAITS)
    rows = [[True, True], None, [None, False], [True, None], None]
    for start, n in ((0, 5), (1, 3), (2, 2), (4, 1), (5, 0)):
        column = pa.chunked_array([pa.array(rows, pa.list_(pa.bool_(), 2)).slice(start, n)])
        expected = [[-1, -1] if row is None else [-1 if v is None else int(v) for v in row] for row in rows]
        assert label_array(column, task).tolist() == expected[start : start + n]
    assert label_array(pa.chunked_array([pa.nulls(3, pa.list_(pa.bool_(), 2))]), task).tolist() == [[-1, -1]] * 3
