"""The code and the case file that the documentation shows run as they stand there."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.case.load import load_case
from tests.pipelines.one_worker import run_here

ROOT = Path(__file__).parents[1]


def block(page, language, after):
    text = (ROOT / page).read_text()
    return re.search(rf"```{language}\n(.*?)```", text[text.index(after) :], re.DOTALL).group(1)


def test_the_snippet_trains_in_under_twenty_lines():
    code = block("docs/getting-started.md", "python", "<!-- snippet -->")
    assert len([line for line in code.splitlines() if line.strip()]) < 20
    names = {}
    exec(code, names)
    value = names["value"]
    assert set(value.parts) == {"species", "traits", "dm:species->traits", "ill:traits->species"}
    predicted = names["network"](names["images"])["species"].argmax(1)
    assert predicted[:2].tolist() == [0, 1], "twenty updates fit two labelled pictures"


@pytest.fixture
def birds(tmp_path):
    """The data that the README's ten lines speak of."""
    root = tmp_path / "my-birds"
    draw = np.random.Generator(np.random.PCG64(0))

    def picture(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(buffer, "JPEG")
        path.write_bytes(buffer.getvalue())

    for i in range(4):
        picture(root / "species" / ("crow", "gull")[i % 2] / f"{i}.jpg")
    for name, columns in (("traits", ["file", "black", "swims"]), ("test", ["file", "species", "black", "swims"])):
        with (root / f"{name}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, columns, extrasaction="ignore")
            table.writeheader()
            for i in range(6):
                picture(root / name / f"{i}.jpg")
                row = {"file": f"{name}/{i}.jpg", "species": ("crow", "gull")[i % 2], "black": 1 - i % 2, "swims": ""}
                table.writerow(row | ({"swims": i % 2} if i else {}))
    return tmp_path


ARMS = ["single-task", "table", "single-task-fused", "naive", "naive-fused", "co-trained"]


def test_the_ten_lines_of_yaml_are_ten_and_run(ray_local, birds):
    text = block("README.md", "yaml", "## Your own data")
    assert len(text.splitlines()) == 10
    (birds / "birds.yaml").write_text(text)
    small = [
        "training.steps=2",
        "training.seeds=[0]",
        "training.batch_size=8",
        "evaluation.replicates=10",
        f"storage.path={birds}/store",
    ]
    outcome = run_here(load_case(str(birds / "birds.yaml"), small))
    assert list(outcome.results.arms) == ARMS
    assert Path(outcome.report).is_file()
