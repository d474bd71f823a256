"""1,797 scanned digits, which come with this package, written out as separately labelled sources of different kinds.

=============================  ==============================================  ========
source                         labelled with                                   images
=============================  ==============================================  ========
``digits/<class>/<id>.png``    the digit alone                                       50
``traits.parquet``             the traits alone                                     947
``validation.csv``, ``.png``   both; for tuning                                     300
``test.csv``, ``.png``         both; for the comparison                             500
=============================  ==============================================  ========

No image stands in two of them. E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, CC BY 4.0; see digits.NOTICE.txt.
"""

import csv
import gzip
import io
import os
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TRAITS = {
    "even": (0, 2, 4, 6, 8),
    "prime": (2, 3, 5, 7),
    "at_least_five": (5, 6, 7, 8, 9),
    "closed_loop": (0, 6, 8, 9),
    "straight_stroke": (1, 4, 5, 7),
    "multiple_of_three": (0, 3, 6, 9),
}
_DIGIT_LABELLED, _VALIDATION, _TEST = 50, 300, 500


def write_digits(root: Path) -> None:
    """Write the sources below ``root``, all or nothing; where they stand already, do nothing."""
    if root.exists():
        return
    pictures, digits = _scans()
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(pictures))
    ends = np.cumsum([_DIGIT_LABELLED, _VALIDATION, _TEST])
    labelled, validation, test, traits = np.split(order, ends)

    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        place = Path(scratch) / root.name
        place.mkdir()
        for i in labelled:
            folder = place / "digits" / str(digits[i])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i:04d}.png").write_bytes(_png(pictures[i]))
        _write_traits(place / "traits.parquet", traits, pictures, digits)
        for name, rows in (("validation", validation), ("test", test)):
            _write_both(place, name, rows, pictures, digits)
        try:
            os.replace(place, root)
        except OSError:
            if not root.exists():  # else somebody else has just written the same
                raise


def _scans() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 (n, 8, 8), and the digit that each shows, int64 (n,)."""
    file = resources.files(__package__) / "digits.csv.gz"
    table = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), delimiter=",")
    pictures = np.round(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return pictures, table[:, -1].astype(np.int64)


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def _write_traits(file: Path, rows: np.ndarray, pictures: np.ndarray, digits: np.ndarray) -> None:
    columns: dict[str, list[object]] = {
        "id": [f"{i:04d}" for i in rows],
        "image": [_png(pictures[i]) for i in rows],
    }
    for trait, holds_for in TRAITS.items():
        columns[trait] = [bool(digits[i] in holds_for) for i in rows]
    pq.write_table(pa.table(columns), file)


def _write_both(place: Path, name: str, rows: np.ndarray, pictures: np.ndarray, digits: np.ndarray) -> None:
    (place / name).mkdir()
    with (place / f"{name}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "digit", *TRAITS])
        for i in rows:
            (place / name / f"{i:04d}.png").write_bytes(_png(pictures[i]))
            holds = [int(digits[i] in holds_for) for holds_for in TRAITS.values()]
            table.writerow([f"{name}/{i:04d}.png", digits[i], *holds])
