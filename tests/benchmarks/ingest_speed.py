"""Images a second from JPEG files to blocks, beside the ceiling of this machine, measured in turns in one run.

    python tests/benchmarks/ingest_speed.py --pictures ../shared/data/grocery-store.zip --rows 20000

The ceiling: a process a core, the same decoder in its fastest mode (the JPEG decoder's own scaling), the same resize,
and nothing else: no labels, no digests, nothing written. The ingest: `kindred ingest` as a case file starts it, less
the start of Ray, which is timed apart. ``--peer`` adds Ray Data's own `read_images(size=...)` to Parquet.
"""

import argparse
import io
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (96, 96)
SOURCE_SIZE = (348, 348)


def write_pictures(archive: Path, folder: Path, rows: int) -> None:
    """Write ``rows`` JPEG files of 348x348: the archive's images, each as often as it takes, none twice the same."""
    with zipfile.ZipFile(archive) as packed:
        names = [name for name in packed.namelist() if name.endswith(".jpg")]
        originals = []
        for name in names[:4000]:
            with Image.open(io.BytesIO(packed.read(name))) as picture:
                buffer = io.BytesIO()
                picture.convert("RGB").resize(SOURCE_SIZE).save(buffer, "JPEG", quality=90)
                originals.append(buffer.getvalue())
    for i in range(rows):
        place = folder / f"{i % 10}" / f"{i:06d}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(originals[i % len(originals)])


def decode_all(files: list[str]) -> int:
    """The ceiling's work."""
    for file in files:
        with open(file, "rb") as stream:
            encoded = stream.read()
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.draft("RGB", SIZE)
            np.asarray(picture.resize(SIZE, Image.Resampling.BILINEAR, reducing_gap=2.0))
    return len(files)


def ceiling(folder: Path, cores: int) -> float:
    """Images a second of a process a core, in a process that knows nothing of Ray."""
    arguments = [sys.executable, __file__, "--ceiling", str(folder), str(cores)]
    return float(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def measured_ceiling(folder: Path, cores: int) -> float:
    files = sorted(str(file) for file in folder.rglob("*.jpg"))
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        start = time.perf_counter()
        pool.map(decode_all, [files[i : i + 250] for i in range(0, len(files), 250)], chunksize=1)
        return len(files) / (time.perf_counter() - start)


def case_file(folder: Path, store: Path) -> Path:
    """A case that ingests the images."""
    case = {
        "name": "speed",
        "data_root": str(folder.parent),
        "input": {"height": SIZE[0], "width": SIZE[1]},
        "tasks": {"digit": {"kind": "multiclass", "classes": [str(i) for i in range(10)]}},
        "datasets": {
            "pictures": {
                "source": {"kind": "image_folder", "path": folder.name},
                "labels": {"digit": {"from": "folder"}},
            },
            "test": {
                "source": {"kind": "image_folder", "path": f"{folder.name}-test"},
                "labels": {"digit": {"from": "folder"}},
                "split": "test",
            },
        },
        "ingest": {"leakage": "keep"},
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 1, "batch_size": 8},
        "storage": {"path": str(store)},
    }
    file = folder.parent / "speed.yaml"
    file.write_text(json.dumps(case))
    return file


def ingest_seconds(folder: Path, store: Path) -> float:
    """Seconds of an ingest of everything, Ray being there."""
    from pipelines.case.load import load_case
    from pipelines.ingest.ingest import ingest

    shutil.rmtree(store, ignore_errors=True)
    case = load_case(str(case_file(folder, store)))
    start = time.perf_counter()
    ingest(case)
    return time.perf_counter() - start


def peer_seconds(folder: Path, store: Path) -> float:
    """Seconds of Ray Data's own way."""
    import ray

    shutil.rmtree(store, ignore_errors=True)
    start = time.perf_counter()
    ray.data.read_images(str(folder), size=SIZE, mode="RGB").write_parquet(str(store))
    return time.perf_counter() - start


class PeakMemory:
    """The most memory that this process and its descendants had at once, shared pages counted once (PSS), in MB."""

    def __init__(self) -> None:
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        me = psutil.Process()
        while not self._stop.wait(0.5):
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="a zip archive with JPEG pictures")
    parser.add_argument("--rows", type=int, nargs="+", default=[20000], help="how many pictures; several, for memory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="store_true")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="ingest-speed-") as scratch:
        for rows in given.rows:
            # A process each, so that one size's peak memory is not the other's.
            arguments = [sys.executable, __file__, "--one", scratch, str(rows), str(cores), str(given.rounds)]
            folder = Path(scratch) / f"pictures-{rows}"
            write_pictures(given.pictures, folder, rows)
            write_pictures(given.pictures, Path(f"{folder}-test"), 16)
            subprocess.run([*arguments, "peer" if given.peer else ""], check=True)
            shutil.rmtree(folder)


def one_size(scratch: str, rows: int, cores: int, rounds: int, peer: bool) -> None:
    from pipelines.base.ray_session import ray_session

    folder, store = Path(scratch) / f"pictures-{rows}", Path(scratch) / "store"
    started = time.perf_counter()
    with ray_session():
        start_up = time.perf_counter() - started
        with PeakMemory() as memory:
            first = ingest_seconds(folder, store)
        ratios, rates = [], []
        before = ceiling(folder, cores)
        for _ in range(rounds):
            rate = rows / ingest_seconds(folder, store)
            after = ceiling(folder, cores)
            of_ceiling, before = 2 / (1 / before + 1 / after), after  # of before and after the ingest
            rates.append(rate)
            ratios.append(rate / of_ceiling)
            print(
                f"{rows:,} pictures: ceiling {of_ceiling:,.0f}/s, ingest {rate:,.0f}/s, ratio {rate / of_ceiling:.2f}"
            )
        print(
            f"{rows:,} pictures, {cores} cores: ratio {statistics.median(ratios):.2f} (median of {rounds}); "
            f"first ingest {rows / first:,.0f}/s; start of Ray {start_up:.1f} s; peak memory {memory.peak:,.0f} MB"
        )
        if peer:
            of_peer = rows / peer_seconds(folder, store)
            print(f"read_images to Parquet: {of_peer:,.0f}/s, {of_peer / statistics.median(rates):.2f} of the ingest")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ceiling"]:
        print(measured_ceiling(Path(sys.argv[2]), int(sys.argv[3])))
    elif sys.argv[1:2] == ["--one"]:
        one_size(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6] == "peer")
    else:
        main()
