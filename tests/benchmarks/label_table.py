"""Seconds to list a CSV file of a million rows and align its labels, beside pyarrow's and csv's bare reading of it.

    python tests/benchmarks/label_table.py --rows 1000000

A row has an id, an image's file, a class of 100 and twelve yes/no labels with gaps. Listing finds every file's size
and time of change, aligns all labels, looks for ids that stand twice, sorts by id and cuts the chunks.
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.csv as pacsv

FILES, CLASSES, LABELS = 1000, 100, 12


def write_table(folder: Path, rows: int) -> None:
    """Write the table, and the files that it names."""
    for i in range(FILES):
        (folder / f"{i}.jpg").write_bytes(b"")
    rng = np.random.Generator(np.random.PCG64(0))
    classes = rng.integers(CLASSES, size=rows)
    cells = np.array(["0", "1", ""])[rng.integers(3, size=(rows, LABELS))]
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "file", "kind", *(f"label{i}" for i in range(LABELS))])
        for i in range(rows):
            table.writerow([f"{i:08d}", f"{i % FILES}.jpg", f"class{classes[i]}", *cells[i]])


def case_of(folder: Path) -> Path:
    """A case with that table."""
    labels = {"kind": {"from": "column", "column": "kind"}, "labels": {"from": "columns"}}
    source = {"kind": "csv", "path": "labels.csv", "id_column": "id"}
    case = {
        "name": "table",
        "data_root": str(folder),
        "input": {"height": 8, "width": 8},
        "tasks": {
            "kind": {"kind": "multiclass", "classes": [f"class{i}" for i in range(CLASSES)]},
            "labels": {"kind": "multilabel", "labels": [f"label{i}" for i in range(LABELS)]},
        },
        "datasets": {
            "train": {"source": source, "labels": labels},
            "test": {"source": source, "labels": labels, "split": "test"},
        },
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 1, "batch_size": 8},
        "storage": {"path": str(folder / "store")},
    }
    file = folder / "table.yaml"
    file.write_text(json.dumps(case))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    given = parser.parse_args()
    from pipelines.case.load import load_case
    from pipelines.ingest.list_rows import list_data_set

    with tempfile.TemporaryDirectory(prefix="label-table-") as scratch:
        folder = Path(scratch)
        write_table(folder, given.rows)
        case = load_case(str(case_of(folder)))
        start = time.perf_counter()
        listed = list_data_set(case, "train")
        aligned = time.perf_counter()
        chunks = len(listed.chunks)
        cut = time.perf_counter()
        bare = pacsv.read_csv(folder / "labels.csv").num_rows
        arrow = time.perf_counter()
        with (folder / "labels.csv").open(newline="") as file:
            plain = sum(1 for _ in csv.reader(file)) - 1
        end = time.perf_counter()
        assert len(listed.rows) == bare == plain == given.rows
        print(
            f"{given.rows:,} rows: listed and aligned in {aligned - start:.1f} s, {chunks:,} chunks in "
            f"{cut - aligned:.1f} s; pyarrow.csv alone {arrow - cut:.1f} s, Python's csv alone {end - arrow:.1f} s"
        )


if __name__ == "__main__":
    main()
