"""How fast rows come out of blocks, beside NumPy's gather from memory, and what augmentation adds to a training step.

    python tests/benchmarks/data_path.py --rounds 200

Images are 3x32x32 with a class of ten and twelve yes/no labels, a third of them missing; a batch is 128 rows at
random of 50,000 in blocks of 1,250. Ways alternate in one process on one thread, and each gets the same rows. Printed
are medians of rows a second, and of the ratios to NumPy's gather of the same inputs and labels from arrays in memory.
Where `grain` (PyPI) is installed, its map mode reads the same arrays in batches of 128. A step is forward,
backward and AdamW of ``small_cnn``.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from host_batch import augmented

from mtlcore import JointLoss, MixedLabels, Multiclass, Multilabel, MultiTaskNetwork, seeded_init, small_cnn
from pipelines.batches.augmentation import draws_of
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.reader import BlockReader
from pipelines.case.data import PictureInput
from pipelines.case.training import Augmentation
from tests.pipelines.blocks.block_files import block_table, write_blocks

TASKS = [Multiclass("kind", tuple(map(str, range(10)))), Multilabel("traits", tuple(f"t{i}" for i in range(12)))]
SCALE = PictureInput(height=32, width=32)
ALL = {"flip": 0.5, "crop": 4, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "erasing": 0.25}
BATCH = 128


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time every way once a round, in an order that turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for work in ways.values():
        work()
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(seconds(ways[name]))
    return found


def ratio(of: list[float], to: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def gather(rounds: int, rows: int, block: int) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    with tempfile.TemporaryDirectory(prefix="data-path-") as scratch:
        os.environ["KINDRED_BLOCK_CACHE"] = f"{scratch}/cache"
        tables = [block_table(block, TASKS, (3, 32, 32), rng) for _ in range(rows // block)]
        manifest = write_blocks(Path(scratch) / "blocks", tables)
        reader = BlockReader(local_blocks(f"{scratch}/blocks", manifest), TASKS)
        inputs = pa.concat_tables(tables)["input"].combine_chunks().to_numpy_ndarray()
        del tables
        labels = {task.name: reader.labels(task.name) for task in TASKS}
        batches = iter(rng.integers(0, len(reader), (100_000, BATCH)))
        now = [next(batches)]

        def plain() -> Any:
            return inputs[now[0]], {name: of[now[0]] for name, of in labels.items()}

        ways: dict[str, Callable[[], Any]] = {
            "draw rows": lambda: now.__setitem__(0, next(batches)),
            "NumPy, in memory": plain,
            "blocks": lambda: reader.gather(now[0]),
        }
        try:
            import grain

            source = grain.MapDataset.source(list(range(len(reader)))).shuffle(seed=0).repeat()
            of_row = source.map(lambda i: {"x": inputs[i], **{name: of[i] for name, of in labels.items()}})
            in_grain = of_row.batch(BATCH)
            place = iter(range(10**9))
            ways["grain, in memory"] = lambda: in_grain[next(place)]
        except ImportError:
            print("grain is not installed")
        times = alternate(ways, rounds)
    for name in list(ways)[1:]:
        per_second = BATCH / statistics.median(times[name])
        beside = ratio(times["NumPy, in memory"], times[name])
        print(f"{name:20} {per_second:12,.0f} rows/s, {beside:.2f} of NumPy's rate")


def augmentation(rounds: int) -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    pictures = rng.integers(0, 256, (BATCH, 3, 32, 32), dtype=np.uint8)
    labels = {
        "kind": torch.from_numpy(rng.integers(0, 10, BATCH)),
        "traits": torch.from_numpy(rng.integers(0, 2, (BATCH, 12))),
    }
    with seeded_init(0):
        backbone, features = small_cnn((3, 32, 32))
        network = MultiTaskNetwork(backbone, features, TASKS)
    optimizer, loss = torch.optim.AdamW(network.parameters()), JointLoss(TASKS)

    def step(mixed: MixedLabels | None = None) -> None:
        value = loss(network(x), labels, mixed=mixed)
        optimizer.zero_grad()
        value.loss.backward()
        optimizer.step()

    def altered(of: dict[str, Any]) -> Callable[[], Any]:
        settings, at = Augmentation(**of), np.arange(BATCH)
        return lambda: augmented(pictures, draws_of(0, 1, 2, at).own, settings, SCALE)

    def blended() -> Any:
        return altered(ALL)().lerp_(altered(ALL)(), 0.3)

    x = altered({})()
    ways = {"step": step, "scaling alone": altered({}), "everything": altered(ALL), "everything, mixup": blended}
    ways |= {f"{name} alone": altered({name: value}) for name, value in ALL.items()}
    ways["step with mixed labels"] = lambda: step(MixedLabels(labels, 0.7))
    times = alternate(ways, rounds)
    print(f"a step of {BATCH}: {statistics.median(times['step']) * 1e3:.1f} ms")
    for name in list(ways)[1:]:
        beside = ratio(times[name], times["step"])
        print(f"{name:24} {statistics.median(times[name]) * 1e3:6.2f} ms, {beside:.3f} of a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--block", type=int, default=1250)
    given = parser.parse_args()
    torch.set_num_threads(1)
    gather(given.rounds, given.rows, given.block)
    augmentation(max(3, given.rounds // 10))


if __name__ == "__main__":
    main()
