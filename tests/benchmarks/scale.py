"""What grows with rows and blocks: a processor's seconds, bytes and open files at 1, 4 and 16 times a size.

    python tests/benchmarks/scale.py listing --rows 100000
    python tests/benchmarks/scale.py blocks --blocks 1563
    python tests/benchmarks/scale.py checkpoint --parameters 1000000
    python tests/benchmarks/scale.py tasks --blocks 1563 --cpus 512
    python tests/benchmarks/scale.py evaluate --rows 5000 --classes 10000 --times 1,4

``--times 1,4,16`` are the multiples of the size; each is measured in a process of its own, so that its peak of memory
is its own. What is printed is a line a multiple as JSON, and the slope: the last less the first, by unit.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

FILES, CLASSES = 1000, 100
_LINKS = 60_000  # of one file, fewer than a file system allows


def listing(rows: int, folder: Path, _: argparse.Namespace) -> dict[str, float]:
    """List a table of so many names of images, align a label, and cut the chunks."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv as pacsv

    from pipelines.case.load import load_case
    from pipelines.ingest.list_rows import list_data_set

    for i in range(FILES):
        (folder / f"{i}.jpg").write_bytes(b"")
    numbers = pa.array(np.arange(rows))
    ids = pc.utf8_lpad(numbers.cast(pa.string()), 10, "0")
    files = pa.array([f"{i}.jpg" for i in range(FILES)]).take(pa.array(np.arange(rows) % FILES))
    kinds = pa.array([f"class{i}" for i in range(CLASSES)]).take(pa.array(np.arange(rows) % CLASSES))
    pacsv.write_csv(pa.table({"id": ids, "file": files, "kind": kinds}), folder / "labels.csv")
    source = {"kind": "csv", "path": "labels.csv", "id_column": "id"}
    of = {"source": source, "labels": {"kind": {"from": "column", "column": "kind"}}}
    case = {
        "name": "table",
        "data_root": str(folder),
        "input": {"height": 8, "width": 8},
        "tasks": {"kind": {"kind": "multiclass", "classes": [f"class{i}" for i in range(CLASSES)]}},
        "datasets": {"train": of, "test": of | {"split": "test"}},
        "training": {"steps": 1, "batch_size": 8},
        "storage": {"path": str(folder / "store")},
    }
    (folder / "case.yaml").write_text(json.dumps(case))
    loaded = load_case(str(folder / "case.yaml"))
    before, begun = _peak(), time.process_time()
    listed = list_data_set(loaded, "train")
    listed_at = time.process_time()
    chunks = len(listed.chunks)
    return {
        "list_s": listed_at - begun,
        "chunk_s": time.process_time() - listed_at,
        "chunks": chunks,
        "peak_bytes": _peak() - before,
    }


def blocks(count: int, folder: Path, _: argparse.Namespace) -> dict[str, float]:
    """Write and read a manifest of so many blocks, open them all, and gather a batch; the files are links of one."""
    import pyarrow as pa

    from mtlcore import Multiclass
    from pipelines.blocks.cache import local_blocks
    from pipelines.blocks.datasets import DataSets, read_data_sets, write_data_sets
    from pipelines.blocks.manifest import BlockEntry, LabelCounts, Manifest, read_manifest
    from pipelines.blocks.reader import BlockReader
    from pipelines.blocks.schema import block_schema
    from pipelines.blocks.writer import write_block

    task = Multiclass("kind", [f"class{i}" for i in range(CLASSES)])
    schema = block_schema((1, 8, 8), [task])
    rows = 16
    inputs = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((rows, 1, 8, 8), np.uint8))
    columns = {"id": pa.array([f"{i:010d}" for i in range(rows)]), "input": inputs}
    columns["kind"] = pa.array([0] * rows).cast(schema.field("kind").type)
    known = {field.name: columns.get(field.name, pa.nulls(rows, field.type)) for field in schema}
    digest = write_block(str(folder / "0.arrow"), pa.table(known, schema=schema))
    for i in range(1, count):
        of = i - i % _LINKS
        (shutil.copy if i == of else os.link)(folder / f"{of if i > of else 0}.arrow", folder / f"{i}.arrow")
    entries = tuple(
        BlockEntry(
            file=f"{i}.arrow", rows=rows, digest=digest, first=f"{i * 2048:010d}", last=f"{i * 2048 + 2047:010d}"
        )
        for i in range(count)
    )
    manifest = Manifest(
        data_set="train", split="train", fingerprint="f", settings={}, content_hash="c", rows_in=count * rows,
        rows=count * rows, quarantined=0, shape=(1, 8, 8), blocks=entries,
        labels={"kind": LabelCounts(annotated=count * rows, histogram={})}, sources={}, reasons={},
    )  # fmt: skip
    begun = time.process_time()
    text = manifest.model_dump_json(indent=1)
    (folder / "manifest.json").write_text(text)
    written = time.process_time()
    read = read_manifest(str(folder))
    assert read is not None
    parsed = time.process_time()
    data_sets = DataSets({"train": str(folder)}, {"train": read})
    write_data_sets(str(folder / "data_sets.json"), data_sets)
    read_data_sets(str(folder / "data_sets.json"))
    recorded = time.process_time()
    sent = len(pickle.dumps(data_sets))
    os.environ["KINDRED_BLOCK_CACHE"] = str(folder / "cache")
    before = _peak()
    verified_at = time.process_time()
    files = local_blocks(str(folder), read)
    verified = time.process_time()
    reader = BlockReader(files, [task])
    opened = time.process_time()
    reader.gather(np.random.default_rng(0).integers(len(reader), size=256))
    return {
        "write_s": written - begun,
        "read_s": parsed - written,
        "record_s": recorded - parsed,
        "manifest_bytes": len(text),
        "sent_to_a_worker_bytes": sent,
        "verify_s": verified - verified_at,
        "open_s": opened - verified,
        "gather_s": time.process_time() - opened,
        "open_files": len(os.listdir("/proc/self/fd")),
        "maps": sum("arrow" in line for line in Path("/proc/self/maps").read_text().splitlines()),
        "peak_bytes": _peak() - before,
    }


def checkpoint(parameters: int, folder: Path, _: argparse.Namespace) -> dict[str, float]:
    """Pack and write a checkpoint: weights, and AdamW's two moments."""
    import torch

    from pipelines.train.checkpoints.file import About, Checkpoint
    from pipelines.train.checkpoints.store import write_checkpoint

    tensors = {name: torch.ones(parameters) for name in ("network", "first", "second")}
    about = About(run="r", step=1, provenance={}, versions={}, seconds=0.0, waited_for_data_s=0.0, columns=())
    packed = Checkpoint(about=about, tensors=tensors)
    begun = time.process_time()
    name = write_checkpoint(str(folder), packed, keep=1)
    return {"write_s": time.process_time() - begun, "bytes": (folder / name).stat().st_size}


def tasks(count: int, _: Path, settings: argparse.Namespace) -> dict[str, float]:
    """Share so many chunks out to ingest tasks, and weigh what a task is given."""
    import pyarrow as pa

    from pipelines.ingest.tasks import shrinking_parts

    begun = time.process_time()
    parts = list(shrinking_parts([2048] * count, settings.cpus))
    sink = pa.BufferOutputStream()
    text = pa.array([f"{i:010d}.jpg" for i in range(2048)])
    rows = pa.table(dict.fromkeys(("id", "source", "file", "stamp"), text) | {"kind": pa.array([0] * 2048)})
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return {
        "share_s": time.process_time() - begun,
        "tasks": len(parts),
        "object_store_bytes": count * len(sink.getvalue()),
    }


def evaluate(rows: int, folder: Path, settings: argparse.Namespace) -> dict[str, float]:
    """Evaluate and report three arms of two seeds on so many test rows of many classes, on a Ray of its own."""
    from pipelines.base.ray_session import ray_session
    from pipelines.evaluate.evaluate import evaluate as evaluated
    from pipelines.experiment.layout import experiment_folder
    from pipelines.ingest.ingest import ingest
    from pipelines.report.report import write_report
    from tests.pipelines.many_classes import many_classes_case
    from tests.pipelines.one_worker import train_here

    case = many_classes_case(folder, classes=settings.classes, train=2 * settings.classes, validation=500, test=rows)
    seconds, begun = {}, time.perf_counter()

    def lap(name: str) -> None:
        nonlocal begun
        seconds[f"{name}_s"], begun = round(time.perf_counter() - begun, 1), time.perf_counter()

    with ray_session():
        lap("start")
        data_sets = ingest(case)
        lap("ingest")
        train_here(case)
        lap("train")
        before = _peak()
        results = evaluated(case, data_sets)
        peak = _peak() - before
        lap("evaluate")
    results.write(experiment_folder(case))
    write_report(case, results)
    lap("report")
    sizes = {file: (Path(experiment_folder(case)) / file).stat().st_size for file in _REPORTED}
    return seconds | sizes | {"peak_before_bytes": before, "peak_bytes": peak}


_REPORTED = ("results.json", "report.html", "predictions.parquet")


MEASURES: dict[str, Callable[[int, Path, argparse.Namespace], dict[str, float]]] = {
    "listing": listing,
    "blocks": blocks,
    "checkpoint": checkpoint,
    "tasks": tasks,
    "evaluate": evaluate,
}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MEASURES)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--blocks", type=int, default=1563)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--cpus", type=int, default=512)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--times", default="1,4,16")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(MEASURES[settings.what](settings.one, Path(folder), settings)))
        return
    sizes = {"listing": settings.rows, "checkpoint": settings.parameters, "evaluate": settings.rows}
    size = sizes.get(settings.what, settings.blocks)
    measured: list[dict[str, Any]] = []
    for times in settings.times.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", str(size * int(times))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured.append({"n": size * int(times), **json.loads(done.stdout)})
        print(json.dumps(measured[-1]), flush=True)
    if len(measured) > 1:
        first, last = measured[0], measured[-1]
        slope = {key: (last[key] - first[key]) / (last["n"] - first["n"]) for key in first if key != "n"}
        print(json.dumps({"slope": {key: float(f"{value:.3g}") for key, value in slope.items()}}))


if __name__ == "__main__":
    main()
