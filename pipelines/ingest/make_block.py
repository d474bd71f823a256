"""One ingest task: fetch and decode a chunk's inputs and write its block.

Three files a chunk, the last of which says that it is done: ``<key>.arrow`` (the block), ``<key>.inputs.arrow``
(digests of where a row's input comes from, and of the input), ``<key>.json`` (counts, hash, and the rows that could not
be read).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from pipelines.base.disk import full_disk
from pipelines.base.shared_storage import unseen
from pipelines.base.storage import StorageUnavailableError, is_remote, join, read_bytes, write_whole
from pipelines.blocks.label_encoding import shares_column
from pipelines.blocks.write_buffer import WriteBuffer
from pipelines.blocks.writer import input_type, write_block
from pipelines.case.data import DataSet, PictureInput, VectorInput
from pipelines.ingest.boxes import BOX, box_list, input_of_data_set
from pipelines.ingest.decode import decode_input
from pipelines.ingest.framing import Box
from pipelines.ingest.near import LOOK_BYTES, can_look_alike, looks
from pipelines.ingest.unusable import UnusableInputError
from pipelines.sources.fetch import fetch

ENDINGS = (".arrow", ".inputs.arrow", ".json")
INPUTS = pa.schema(
    [
        ("origin", pa.binary(16)),
        ("digest", pa.binary(16)),
        ("note", pa.string()),
        ("look", pa.binary(LOOK_BYTES)),  # see near.py; null where inputs are no images, or small ones
    ]
)


@dataclass(frozen=True)
class Job:
    """A chunk to be made.

    Attributes:
        data_set: its dataset.
        folder: where to.
        key: of the chunk.
        older: keys of blocks in the folder that may hold inputs of these rows.
    """

    data_set: str
    folder: str
    key: str
    older: tuple[str, ...]


@dataclass(frozen=True)
class Recipe:
    """What every task of an ingest needs to know."""

    data_sets: dict[str, DataSet]
    input: PictureInput | VectorInput
    schema: pa.Schema


@dataclass(frozen=True)
class BlockBuffers:
    """Memory that the chunks of a task use one after another: inputs are put together in it, and the block's file."""

    inputs: WriteBuffer = field(default_factory=WriteBuffer)
    file: WriteBuffer = field(default_factory=WriteBuffer)


@cache
def _block_buffers() -> BlockBuffers:
    """Return the process's: Ray gives it one task at a time."""
    return BlockBuffers()


def outcome_file(folder: str, key: str) -> str:
    """Return where it stands what came of a chunk."""
    return join(folder, f"{key}.json")


def inputs_file(folder: str, key: str) -> str:
    """Return where the stamps and digests of a block's rows stand."""
    return join(folder, f"{key}.inputs.arrow")


def read_arrow(url: str) -> pa.Table:
    """Return the table in an Arrow IPC file."""
    return pa.ipc.open_file(pa.BufferReader(read_bytes(url))).read_all()


def make_blocks(task: dict[str, Any], recipe: Recipe) -> list[dict[str, Any]]:
    """Make the blocks of some chunks: ``chunks``, each a ``job`` (JSON) and ``rows`` (Arrow IPC).

    Returns:
        what :func:`make_block` does of each, and ``unavailable``: empty, or, in the one row that there is then, why
        object storage let nothing more be read. Ray Data would make of an exception many lines of text.
    """
    room, made = _block_buffers(), []
    if lost := unseen({json.loads(item["job"])["folder"] for item in task["chunks"]}):
        return [{"data_set": "", "key": "", "outcome": "", "rows": 0, "read": 0, "unavailable": lost}]
    try:
        for item in task["chunks"]:
            rows = pa.ipc.open_stream(item["rows"]).read_all().combine_chunks()
            made.append(make_block(item["job"], rows, recipe, room) | {"unavailable": ""})
        return made
    except (StorageUnavailableError, OSError) as error:
        # a full disk is no fault of these rows either
        why = str(error) if isinstance(error, StorageUnavailableError) else full_disk(error)
        if why is None:
            raise
        return [{"data_set": "", "key": "", "outcome": "", "rows": 0, "read": 0, "unavailable": why}]
    finally:
        room.inputs.lend()
        room.file.lend()


def make_block(encoded_job: str, rows: pa.Table, recipe: Recipe, room: BlockBuffers) -> dict[str, Any]:
    """Make the block of a chunk.

    Args:
        encoded_job: a Job's fields as JSON.
        rows: schema ``ROWS`` and a column a labelled task.
        recipe: the case's part in it.
        room: memory for it.

    Returns:
        what came of it (the outcome, as JSON), how many rows there were, and how many inputs were read.
    """
    given = json.loads(encoded_job)
    job = Job(given["data_set"], given["folder"], given["key"], tuple(given["older"]))
    data_set = recipe.data_sets[job.data_set]
    declared = input_of_data_set(recipe.input, data_set)
    ids, origins, boxes = rows["id"].to_pylist(), source_digests(rows), box_list(rows)
    known = _known_inputs(job, ids, origins)
    # Only what no earlier block holds is fetched: a label that has changed makes a new block of the same inputs.
    unknown = [i for i in range(len(ids)) if i not in known]
    found = read_inputs(rows.take(pa.array(unknown, pa.int64())), data_set)

    shape, dtype = recipe.input.shape, np.dtype(input_type(recipe.input.shape).to_pandas_dtype())
    n = len(ids) * math.prod(shape)
    inputs = np.frombuffer(room.inputs.at_least(n * dtype.itemsize), dtype, n).reshape(len(ids), *shape)
    digests: list[bytes] = []
    notes: list[str | None] = []
    kept: list[int] = []
    failed: list[dict[str, str]] = []
    for i in range(len(ids)):
        try:
            inputs[len(kept)], note = known[i] if i in known else _made(next(found), declared, boxes[i])
        except Exception as error:  # whatever a broken image raises, the row goes to quarantine
            if isinstance(error, StorageUnavailableError | MemoryError | StopIteration):
                raise
            failed.append({"id": ids[i], "reason": reason_of(error)})
            continue
        # Of the decoded input: leaks are found between files that differ and show the same.
        digests.append(xxhash.xxh3_128_digest(inputs[len(kept)]))
        notes.append(note)
        kept.append(i)
    at = pa.array(kept, pa.int64())
    of_shares = {shares_column(task) for task in data_set.labels}
    shares = [field for field in rows.schema if field.name in of_shares]
    taken = rows.take(at).combine_chunks()
    block = pa.table(
        [
            taken["id"],
            pa.FixedShapeTensorArray.from_numpy_ndarray(inputs[: len(kept)])
            if kept
            else pa.array([], recipe.schema.field("input").type.storage_type).cast(recipe.schema.field("input").type),
            *(
                taken[field.name] if field.name in taken.column_names else pa.nulls(len(kept), field.type)
                for field in recipe.schema
                if field.name not in ("id", "input", "source", "split")
            ),
            taken["source"],
            pa.repeat(pa.scalar(data_set.split), len(kept)),
            *(taken[field.name] for field in shares),
        ],
        schema=pa.schema([*recipe.schema, *shares]),
    )
    columns = [
        origins.take(at),
        pa.array(digests, pa.binary(16)),
        pa.array(notes, pa.string()),
        looks_column(inputs[: len(kept)]),
    ]
    of_inputs = pa.table(columns, schema=INPUTS)
    # The outcome comes last: with it there, the two files before it are whole.
    write_block(inputs_file(job.folder, job.key), of_inputs)
    file = f"{job.key}.arrow"
    entry = {"file": file, "rows": len(kept), "digest": write_block(join(job.folder, file), block, room.file)}
    ends = {"first": ids[kept[0]] if kept else "", "last": ids[kept[-1]] if kept else ""}
    counted = dict(sorted(Counter(note for note in notes if note is not None).items()))
    outcome = json.dumps({"block": entry | ends, "failed": failed, "notes": counted})
    write_whole(outcome_file(job.folder, job.key), outcome)
    return {"data_set": job.data_set, "key": job.key, "outcome": outcome, "rows": len(ids), "read": len(unknown)}


def looks_column(inputs: np.ndarray) -> pa.Array:
    """Return the thumbnails by which images are compared, null for inputs that are none."""
    kind = INPUTS.field("look").type
    if not can_look_alike(inputs.shape[1:]):
        return pa.nulls(len(inputs), kind)
    return pa.Array.from_buffers(kind, len(inputs), [None, pa.py_buffer(looks(inputs).tobytes())])


def _made(
    found: bytes | np.ndarray | Exception, declared: PictureInput | VectorInput, box: Box | None
) -> tuple[np.ndarray, str | None]:
    if isinstance(found, Exception):
        raise found
    return decode_input(found, declared, box)


def reason_of(error: Exception) -> str:
    """Say why a row cannot be used, without what differs from row to row at the front: reasons are counted by it."""
    if isinstance(error, FileNotFoundError):
        return "missing file"
    if isinstance(error, UnusableInputError):
        return str(error)
    words = re.sub(r" ?<[^<>]* at 0x[0-9a-f]+>", "", str(error).replace("\n", " "))  # the same in every process
    if words.startswith("cannot identify image file"):
        return "no image: in no format that is read"
    for begins, reason in (
        ("image file is truncated", "truncated image"),
        ("the file is empty", "empty file"),
        ("broken archive", "broken archive"),
        ("wrong width", "wrong width"),
        ("too large", "too large"),
        ("not a regular file", "not a regular file"),
        ("NaN", "NaN or infinite features"),
        ("no number", "no number"),
        ("missing value", "missing value"),
        ("unknown category", "unknown category"),
    ):
        if words.startswith(begins):
            return f"{reason}: {words}" if reason != words and not words.startswith(reason) else words
    if type(error).__name__ in ("DecompressionBombError", "DecompressionBombWarning"):
        return f"decompression bomb: {words}"
    return f"{type(error).__name__}: {words}"


def source_digests(rows: pa.Table) -> pa.Array:
    """Return a digest of where every input comes from and of what changes when it does: 16 bytes each."""
    of_box = [BOX] if BOX in rows.column_names else []
    parts = rows.select(["file", "codec", "offset", "size", "stamp", "row", "vector", *of_box]).to_pylist()
    return pa.array([xxhash.xxh3_128_digest(repr(list(part.values())).encode()) for part in parts], pa.binary(16))


def _known_inputs(job: Job, ids: list[str], origins: pa.Array) -> dict[int, tuple[np.ndarray, str | None]]:
    """Return the inputs (and their notes), by place in the chunk, that an earlier block holds under the same id, from
    the same place."""
    wanted = {pair: i for i, pair in enumerate(zip(ids, origins.to_pylist(), strict=True))}
    found = {}
    for key in job.older:
        try:
            old = read_arrow(inputs_file(job.folder, key))
            old_origins, notes = old["origin"].to_pylist(), old["note"].to_pylist()
            block = read_arrow(join(job.folder, f"{key}.arrow"))
        except (OSError, pa.ArrowInvalid):
            continue  # lost or cut: the source has it still
        if not len(block):
            continue
        pictures = block["input"].combine_chunks().to_numpy_ndarray()
        for row, pair in enumerate(zip(block["id"].to_pylist(), old_origins, strict=True)):
            if (at := wanted.get(pair)) is not None:
                found[at] = pictures[row], notes[row]
    return found


def read_inputs(rows: pa.Table, data_set: DataSet) -> Iterator[bytes | np.ndarray | Exception]:
    """Yield what the sources hold for some rows, in their order; for one that cannot be read, why.

    Args:
        rows: schema ``pipelines.sources.listing.ROWS``.
        data_set: the rows' dataset.
    """
    if rows["vector"].null_count < len(rows):
        for value in rows["vector"]:
            yield np.asarray(value.values.to_numpy(zero_copy_only=False), dtype=np.float32)
        return
    tables = zip(rows["row"].to_pylist(), rows["file"].to_pylist(), rows["offset"].to_pylist(), strict=True)
    start = 0
    for table, group in groupby([None if row is None else (file, offset) for row, file, offset in tables]):
        part = rows.slice(start, len(list(group)))
        start += len(part)
        yield from fetch(part) if table is None else _read_table_rows(part, data_set)


def _read_table_rows(rows: pa.Table, data_set: DataSet) -> Iterator[bytes | np.ndarray | Exception]:
    """Read rows of one table; where the table itself fails, so does each row that is left."""
    file, wanted, done = rows.slice(0, 1).to_pylist()[0], rows["row"].to_pylist(), 0
    try:
        for one in data_set.source.read_rows(file, wanted):
            yield one
            done += 1
    except Exception as error:
        # Storage that fails is no fault of these rows; a file that is gone is.
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and is_remote(file["file"]):
            raise StorageUnavailableError(str(error)) from error
        yield from [error] * (len(wanted) - done)
