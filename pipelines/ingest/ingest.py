"""Ingest a case's datasets from their sources to Arrow blocks, with Ray Data.

::

    list the sources' rows, align labels to the vocabulary, set apart what cannot be used    list_rows.py
        -> cut into chunks that depend on the rows alone                                      chunks.py
        -> shared out to Ray Data's tasks                                                     tasks.py
        -> in a task, a chunk at a time: fetch, decode, resize, write one block               make_block.py
        -> quarantine.parquet and manifest.json a dataset                                    finish.py
        -> leakage between datasets; what the case's ingest came to, the last file           leakage.py, here

A chunk's block depends on its rows alone, so the result is the same bytes however the work is spread and however
often it was stopped. A block that is there is not made again; and of a chunk that has changed, only the inputs that
no earlier block holds are read.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.disk import check_writable
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.metrics import set_gauge
from pipelines.base.progress import bar, note
from pipelines.base.ray_session import need_ray
from pipelines.base.storage import is_remote, join, list_folder
from pipelines.base.waiting import a_processor
from pipelines.blocks.datasets import DataSets, at_root, read_data_sets, write_data_sets
from pipelines.blocks.layout import blocks_folder, blocks_root
from pipelines.blocks.manifest import Manifest, read_manifest
from pipelines.blocks.schema import BLOCK_VERSION, block_schema
from pipelines.case.build import tasks_of
from pipelines.case.case import Case
from pipelines.ingest.chunks import Chunk
from pipelines.ingest.columns import check_same_columns, spread_warnings
from pipelines.ingest.decode import reads_heif
from pipelines.ingest.finish import finish_data_set
from pipelines.ingest.groups import check_groups
from pipelines.ingest.label_warnings import label_warnings
from pipelines.ingest.leakage import without_leaks
from pipelines.ingest.list_rows import ListedDataSet, list_data_set
from pipelines.ingest.make_block import ENDINGS, Job, Recipe
from pipelines.ingest.tasks import ChunkToMake, chunks_at_once, make_in_tasks
from pipelines.sources.archives import DECOMPRESSED
from pipelines.sources.embedded import write_embedded

# What labels depend on of a task; how it is trained and used makes no other blocks.
_OF_LABELS = {"kind", "classes", "labels", "outputs", "aliases"}


@dataclass(frozen=True)
class _Planned:
    """A dataset and the chunks of it that are to be made."""

    listed: ListedDataSet
    settings: dict[str, Any]
    folder: str
    before: Manifest | None
    missing: list[Chunk]


def ingest(case: Case) -> DataSets:
    """Make the blocks of every dataset of a case that are not there yet, and return them; needs Ray if any is missing.

    Raises:
        UserError: a source cannot be used, a label is outside the vocabulary, too many rows could not be read, or
            inputs leaked and the case forbids it.
    """
    write_embedded(case.embedded, case.data_root)
    if read_data_sets(_record_file(case)) is None:
        need_ray()  # the first time: many files are listed in parallel
    planned: list[_Planned] = []
    with bar("list sources", len(case.datasets), "datasets") as shown:
        for name in case.datasets:
            shown.show(len(planned), name)
            planned.append(_plan(case, list_data_set(case, name)))
    # Every dataset is listed before any input is read, so that a wrong label of the last is told within seconds; and
    # all are made in one go, so that no processor waits for the end of each.
    check_groups(case, [one.listed for one in planned])
    check_same_columns({one.listed.name: one.listed.vector_columns for one in planned})
    outcomes = _make_blocks(case, planned)
    finished = {
        one.listed.name: finish_data_set(case, one.listed, one.folder, one.settings, outcomes, one.before)
        for one in planned
    }
    # After all are finished: one message tells of every dataset, and what could be read is kept.
    if problems := [of.problem for of in finished.values() if of.problem is not None]:
        raise UserError("\n".join(problems))
    folders = {one.listed.name: one.folder for one in planned}
    made = DataSets(folders, {name: finished[name].manifest for name in folders}, _read_from(planned))
    if (before := _same_as_before(case, made)) is not None:
        return replace(before, read_from=made.read_from)
    made = without_leaks(case, made, {name: of.rows for name, of in finished.items()})
    _check_annotated(case, made)
    for words in label_warnings(case, {name: manifest.labels for name, manifest in made.manifests.items()}):
        note(f"warning: {words}")
    for words in spread_warnings(case, made):
        note(f"warning: {words}")
    write_data_sets(_record_file(case), made)
    return replace(made, read_from=_read_from(planned))


def _read_from(planned: Sequence[_Planned]) -> frozenset[str]:
    """Return the folders of the files, or archives, that rows name."""
    files = [pc.unique(one.listed.rows["file"]).drop_null() for one in planned]
    folders = [pc.unique(pc.replace_substring_regex(of, "/[^/]*$", "")).to_pylist() for of in files]
    return frozenset(folder for of in folders for folder in of)


def _same_as_before(case: Case, made: DataSets) -> DataSets | None:
    """Return what the case's last ingest came to, if it was the same; looking for leaks again would find the same."""
    before = read_data_sets(_record_file(case))
    if before is None:
        return None
    if before.folders != made.folders:
        return None
    alone = {
        name: manifest.model_copy(
            update={"excluded": (), "leakage": {}, "near": {}, "labels": made.manifests[name].labels}
        )
        for name, manifest in before.manifests.items()
    }
    return before if alone == made.manifests else None


def ingested(case: Case) -> DataSets:
    """Return the datasets as the last ingest of this case has left them.

    Raises:
        UserError: it has not been ingested with these settings.
    """
    found = read_data_sets(_record_file(case))
    if found is None:
        raise UserError(
            f"{case.name}: not ingested with these settings (there is no {_record_file(case)}); "
            "`kindred ingest` with the same case and --set comes first"
        )
    return at_root(found, blocks_root(case))


def _settings(case: Case, name: str) -> dict[str, Any]:
    """Return what a dataset's blocks depend on, beside its rows."""
    data_set = case.datasets[name].model_dump(mode="json", by_alias=True)
    vocabulary = {task: of.model_dump(mode="json", include=_OF_LABELS) for task, of in case.tasks.items()}
    # Blocks hold inputs as they are; mean and spread are applied when a batch is made.
    size = case.input.model_dump(mode="json", exclude={"mean", "std"})
    # Embedded and drawn data are the same wherever the storage has put them.
    root = None if case.embedded or case.datasets[name].source.made else case.data_root
    version = [BLOCK_VERSION, PIL.__version__]  # decoders of different versions differ in the last bit
    version += ["heif"] if reads_heif() else []  # what is refused without can be read with it
    return {"source": data_set, "data_root": root, "vocabulary": vocabulary, "input": size, "version": version}


def _record_file(case: Case) -> str:
    settings = {
        "data_sets": {name: _settings(case, name) for name in case.datasets},
        "ingest": case.ingest.model_dump(mode="json"),
        # Labels may be read through a table (labels.<task>.through).
        "relatedness": [edge.model_dump(mode="json") for edge in case.relatedness],
    }
    return join(blocks_root(case), f"{case.name}-{fingerprint(settings)}.json")


def _plan(case: Case, listed: ListedDataSet) -> _Planned:
    settings = _settings(case, listed.name)
    folder = blocks_folder(case, listed.name, fingerprint(settings))
    before = read_manifest(folder)
    if before is None:
        _tell_what_changed(case, listed.name, folder, settings)
    there = set(list_folder(folder))
    # By listing the folder once: to ask for every file is a request each in object storage.
    missing = [chunk for chunk in listed.chunks if not {f"{chunk.key}{end}" for end in ENDINGS} <= there]
    return _Planned(listed, settings, folder, before, missing)


def _tell_what_changed(case: Case, name: str, folder: str, settings: dict[str, Any]) -> None:
    """Say it where a dataset was ingested before with other settings: all of it is read again."""
    mine = folder.rstrip("/").rpartition("/")[2]
    for other in list_folder(blocks_root(case)):
        prefix, _, of = other.rpartition("-")
        if prefix != name or other == mine or len(of) != len(fingerprint({})):
            continue
        before = read_manifest(join(blocks_root(case), other))
        if before is not None:
            changed = [key for key in settings if before.settings.get(key) != settings[key]]
            words = ", ".join(_change(key, before.settings.get(key), settings[key]) for key in changed)
            note(f"{name}: ingested before with {words}; every input is read again, into new blocks")
            return


def _change(key: str, before: Any, now: Any) -> str:
    if key == "input" and isinstance(before, dict):
        if _size(before) == _size(now):
            return "inputs read in another way (input.fit, input.crop and the like)"
        return f"inputs of {_size(before)}, now {_size(now)}"
    words = {
        "source": "another source or labels",
        "data_root": "another data_root",
        "version": "another version of Kindred",
    }
    if key == "vocabulary" and isinstance(before, dict):
        tasks = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        return f"another vocabulary ({', '.join(tasks)})"
    return words.get(key, f"another {key}")


def _size(of: Mapping[str, Any]) -> str:
    return f"{of['height']}x{of['width']}x{of['channels']}" if "height" in of else f"{of.get('size')} numbers"


def _make_blocks(case: Case, planned: Sequence[_Planned]) -> dict[tuple[str, str], str]:
    """Make the chunks that are missing; return what came of each, by dataset and key."""
    missing = [(one, chunk) for one in planned for chunk in one.missing]
    blocks = case.storage.blocks
    if missing and blocks is not None and not is_remote(blocks):
        check_writable(blocks, "storage.blocks")
    outcomes: dict[tuple[str, str], str] = {}
    schema = block_schema(case.input.shape, list(tasks_of(case).values()))
    recipe = Recipe(dict(case.datasets), case.input, schema)
    done = read = failed = 0
    begun = time.perf_counter()
    if not missing:
        return outcomes
    for one in planned:  # before any task: on a node that does not see it, it is missing
        if not is_remote(one.folder):
            Path(one.folder).mkdir(parents=True, exist_ok=True)
    need_ray()
    with bar("ingest", sum(chunk.rows for _, chunk in missing), "rows", rate=True, waiting=a_processor()) as shown:
        shown.show(0)
        start = 0
        while start < len(missing):
            wave = missing[start : start + chunks_at_once()]
            start += len(wave)
            for made in make_in_tasks([_item(one, chunk) for one, chunk in wave], recipe):
                outcomes[made["data_set"], made["key"]] = made["outcome"]
                done += made["rows"]
                read += made["read"]
                failed += len(json.loads(made["outcome"])["failed"])
                shown.show(done)
                _tell(case, done, failed, time.perf_counter() - begun)
    kept = done - read
    if kept:
        note(f"{read:,} inputs read; {kept:,} were in blocks already")
    return outcomes


def _tell(case: Case, done: int, failed: int, seconds: float) -> None:
    tags = {"case": case.name}
    set_gauge("kindred_ingest_rows", done, tags)
    set_gauge("kindred_ingest_rows_per_second", done / max(1e-9, seconds), tags)
    set_gauge("kindred_ingest_quarantined_rows", failed, tags)


def _item(one: _Planned, chunk: Chunk) -> ChunkToMake:
    rows = one.listed.rows.slice(chunk.start, chunk.rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    older = _older(one, rows["id"][0].as_py(), rows["id"][-1].as_py())
    job = Job(one.listed.name, one.folder, chunk.key, older)
    in_order = pc.any(pc.is_in(rows["codec"], pa.array(list(DECOMPRESSED)))).as_py()
    # As bytes: rows of Ray Data would otherwise be columns of every source's own types, in one schema.
    return ChunkToMake({"job": json.dumps(job.__dict__), "rows": sink.getvalue().to_pybytes()}, len(rows), in_order)


def _older(one: _Planned, first: str, last: str) -> tuple[str, ...]:
    """Return the keys of earlier blocks that may hold rows from one id to another."""
    if one.before is None:
        return ()
    near = (block for block in one.before.blocks if block.rows and block.first <= last and block.last >= first)
    return tuple(block.file.removesuffix(".arrow") for block in near)


def _check_annotated(case: Case, made: DataSets) -> None:
    for split in ("train", "test"):
        for task in case.tasks:
            if split == "test" and case.tasks[task].auxiliary:
                continue
            labelled = [name for name, data_set in case.of_split(split).items() if task in data_set.labels]
            if not sum(made.manifests[name].labels[task].annotated for name in labelled):
                raise UserError(
                    f"datasets: no row of split {split!r} is annotated for task {task!r} (found in "
                    f"{', '.join(f'{name}: {made.manifests[name].rows_used} rows' for name in labelled)}, "
                    "all with empty labels)"
                )
