"""Leakage: inputs of a test or validation split that also occur in another task's training data.

Two inputs are the same when their decoded pixels are, at the declared size; byte-equal files are among them. Rows for
training that stand in a test or validation split too leak, and rows for validation that stand in a test split.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.blocks.datasets import DataSets
from pipelines.blocks.manifest import LabelCounts, Manifest
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.case.data import PictureInput
from pipelines.ingest.finish import count_labels
from pipelines.ingest.make_block import inputs_file, read_arrow

_LATER = {"train": ("validation", "test"), "validation": ("test",), "test": ()}
_FILES_AT_ONCE = 16


def input_digests(folder: str, manifest: Manifest) -> pa.ChunkedArray:
    """Return a digest of every row's input, in the order of the blocks: 16 bytes each."""
    keys = [block.file.removesuffix(".arrow") for block in manifest.blocks]
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        tables = list(pool.map(lambda key: read_arrow(inputs_file(folder, key))["digest"], keys))
    return pa.chunked_array([chunk for table in tables for chunk in table.chunks], pa.binary(16))


def without_leaks(case: Case, made: DataSets, rows: Mapping[str, pa.Table]) -> DataSets:
    """Count the rows of every dataset that leak and, if the case says so, exclude them.

    Args:
        case: the case.
        made: the datasets.
        rows: the rows in each dataset's blocks, with a column a labelled task.

    Returns:
        the same with ``excluded``, ``leakage`` and, where rows are excluded, ``labels`` as they are without them.

    Raises:
        UserError: the case forbids leakage and there is some, or nothing is left of a dataset.
    """
    # Vectors of few numbers are equal by chance; images hardly ever are.
    what = case.ingest.leakage or ("remove" if isinstance(case.input, PictureInput) else "keep")
    digests = {name: input_digests(made.folders[name], manifest) for name, manifest in made.manifests.items()}
    manifests = dict(made.manifests)
    for name, manifest in made.manifests.items():
        later = made.of_split(*_LATER[manifest.split]).manifests
        shared = {other: pc.is_in(digests[name], digests[other].combine_chunks()).to_numpy() for other in later}
        leakage = {other: int(rows.sum()) for other, rows in shared.items() if rows.any()}
        if not leakage:
            continue
        told = ", ".join(f"{n:,} in {other} ({made.manifests[other].split})" for other, n in leakage.items())
        if what == "fail":
            raise UserError(
                f"datasets.{name}: {manifest.split} inputs stand in later splits too: {told}; "
                "none may, by ingest.leakage: fail (remove takes them out of this dataset)"
            )
        leaked = np.flatnonzero(np.logical_or.reduce(list(shared.values())))
        # Out of the earlier split: a test set that shrank with the training data could not be compared.
        excluded = leaked if what == "remove" else leaked[:0]
        if len(excluded) == manifest.rows:
            raise UserError(
                f"datasets.{name}: nothing is left for {manifest.split}: every input stands in a later split too: "
                f"{told}; "
                "expected other inputs (ingest.leakage: keep trains on them all the same)"
            )
        update = {"leakage": leakage, "excluded": tuple(excluded.tolist())}
        labels = _labels_without(case, manifest, rows[name], excluded) if len(excluded) else manifest.labels
        manifests[name] = manifest.model_copy(update={**update, "labels": labels})
    return replace(made, manifests=manifests)


def _labels_without(case: Case, manifest: Manifest, rows: pa.Table, excluded: np.ndarray) -> dict[str, LabelCounts]:
    kept = np.ones(len(rows), dtype=bool)
    kept[excluded] = False
    return {task: count_labels(rows[task].filter(pa.array(kept)), tasks_of(case)[task]) for task in manifest.labels}
