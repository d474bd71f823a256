"""Leakage: inputs of a test or validation split that also occur in another task's training data.

Two inputs are the same when their decoded pixels are, at the declared size; byte-equal files are among them. Rows for
training that stand in a test or validation split too leak, and rows for validation that stand in a test split. Images
that look alike (near.py) are counted beside them.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.base.progress import note
from pipelines.base.storage import join
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.manifest import BlockEntry, LabelCounts, Manifest
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.ingest.finish import count_labels
from pipelines.ingest.make_block import inputs_file, read_arrow
from pipelines.ingest.near import DISTANCE, LOOK_BYTES, can_look_alike, look_alike, looks

_LATER = {"train": ("validation", "test"), "validation": ("test",), "test": ()}
_FILES_AT_ONCE = 16


def input_digests(folder: str, manifest: Manifest) -> pa.ChunkedArray:
    """Return a digest of every row's input, in the order of the blocks: 16 bytes each."""
    keys = [block.file.removesuffix(".arrow") for block in manifest.blocks]
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        tables = list(pool.map(lambda key: read_arrow(inputs_file(folder, key))["digest"], keys))
    return pa.chunked_array([chunk for table in tables for chunk in table.chunks], pa.binary(16))


def input_looks(folder: str, manifest: Manifest) -> np.ndarray:
    """Return every row's thumbnail, uint8 (n, 72), in the order of the blocks."""

    def of_block(block: BlockEntry) -> np.ndarray:
        key = block.file.removesuffix(".arrow")
        table = read_arrow(inputs_file(folder, key))
        if "look" not in table.column_names:  # it was made when there were none
            images = read_arrow(join(folder, block.file))["input"].combine_chunks()
            return looks(images.to_numpy_ndarray()) if block.rows else np.zeros((0, LOOK_BYTES), np.uint8)
        raw = b"".join(table["look"].to_pylist())
        return np.frombuffer(raw, np.uint8).reshape(-1, LOOK_BYTES)

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        parts = list(pool.map(of_block, manifest.blocks))
    return np.concatenate(parts) if parts else np.zeros((0, LOOK_BYTES), np.uint8)


def without_leaks(case: Case, made: DataSets, rows: Mapping[str, pa.Table]) -> DataSets:
    """Count the rows of every dataset that leak and, if the case says so, exclude them.

    Args:
        case: the case.
        made: the datasets.
        rows: the rows in each dataset's blocks, with a column a labelled task.

    Returns:
        the same with ``excluded``, ``leakage``, ``near`` and, where rows are excluded, ``labels`` as they are without
        them.

    Raises:
        UserError: the case forbids leakage and there is some, or nothing is left of a dataset.
    """
    # Vectors of few numbers are equal by chance; images hardly ever are.
    what = case.ingest.leakage or ("remove" if isinstance(case.input, PictureInput) else "keep")
    digests = {name: input_digests(made.folders[name], manifest) for name, manifest in made.manifests.items()}
    splits = {manifest.split for manifest in made.manifests.values()}
    compared = can_look_alike(case.input.shape) and len(splits) > 1
    thumbnails = (
        {name: input_looks(made.folders[name], manifest) for name, manifest in made.manifests.items()}
        if compared
        else {}
    )
    manifests = dict(made.manifests)
    for name, manifest in made.manifests.items():
        later = made.of_split(*_LATER[manifest.split]).manifests
        shared = {other: pc.is_in(digests[name], digests[other].combine_chunks()).to_numpy() for other in later}
        leakage = {other: int(rows.sum()) for other, rows in shared.items() if rows.any()}
        same = np.logical_or.reduce([np.zeros(manifest.rows, dtype=bool), *shared.values()])
        alike = (
            {other: ~same & look_alike(thumbnails[name], thumbnails[other]) for other in later} if thumbnails else {}
        )
        near = {other: int(rows.sum()) for other, rows in alike.items() if rows.any()}
        if near:
            _tell(name, manifest, near, made, what)
        if not leakage and not near:
            continue
        told = ", ".join(f"{n:,} in {other} ({made.manifests[other].split})" for other, n in leakage.items())
        if what == "fail" and leakage:
            raise UserError(
                f"datasets.{name}: {manifest.split} inputs stand in later splits too: {told}; "
                "none may, by ingest.leakage: fail (remove takes them out of this dataset)"
            )
        leaked = np.logical_or.reduce([same, *(alike.values() if what == "near" else ())])
        # Out of the earlier split: a test set that shrank with the training data could not be compared.
        excluded = np.flatnonzero(leaked) if what in ("remove", "near") else np.zeros(0, np.int64)
        if len(excluded) == manifest.rows:
            alone = len(pc.unique(digests[name])) == 1 and manifest.rows > 1
            raise UserError(
                f"datasets.{name}: nothing is left for {manifest.split}: every input stands in a later split too: "
                f"{told or ', '.join(f'{n:,} look like images of {other}' for other, n in near.items())}; "
                + (f"all {manifest.rows:,} are the same image, once they are decoded; " if alone else "")
                + "expected other inputs (ingest.leakage: keep trains on them all the same)"
            )
        update: dict[str, Any] = {"leakage": leakage, "near": near, "excluded": tuple(excluded.tolist())}
        labels = _labels_without(case, manifest, rows[name], excluded) if len(excluded) else manifest.labels
        manifests[name] = manifest.model_copy(update={**update, "labels": labels})
    return replace(made, manifests=manifests)


def _tell(name: str, manifest: Manifest, near: Mapping[str, int], made: DataSets, what: str) -> None:
    told = ", ".join(f"{n:,} in {other} ({made.manifests[other].split})" for other, n in near.items())
    done = "they are taken out" if what == "near" else "ingest.leakage: near takes them out"
    note(
        f"{name}: {manifest.split} images that look like images of later splits, beside those that are the same: "
        f"{told} (at most {DISTANCE} of 64 bits of a difference hash differ); {done}"
    )


def _labels_without(case: Case, manifest: Manifest, rows: pa.Table, excluded: np.ndarray) -> dict[str, LabelCounts]:
    kept = np.ones(len(rows), dtype=bool)
    kept[excluded] = False
    return {task: count_labels(rows[task].filter(pa.array(kept)), tasks_of(case)[task]) for task in manifest.labels}
