"""From sources to Arrow blocks, with Ray Data.

::

    list a source's rows, align labels to the vocabulary    (driver)
        -> cut into parts of ROWS_PER_BLOCK rows
        -> a Ray Data task a part: fetch, decode, resize, write one block
        -> manifest.json, the last file written

A part's block depends on its rows alone, so the result is the same bytes however the work is spread, and a part
whose block is there already is not made again.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtlcore import Task
from pipelines.atomic import write_atomically
from pipelines.blocks import block_schema, write_block
from pipelines.case import Case, DataSet, MultilabelTask
from pipelines.errors import UserError
from pipelines.layout import blocks_folder, fingerprint
from pipelines.manifest import MANIFEST, BlockEntry, LabelCounts, Manifest, read_manifest
from pipelines.method import relatedness_of, tasks_of
from pipelines.pictures import decode_picture
from pipelines.progress import bar
from pipelines.runs import digest_of
from pipelines.sources.index import SourceRow, fetch_pictures, list_rows, read_label
from pipelines.sources.location import Location, locate

ROWS_PER_BLOCK = 2048
MOST_QUARANTINED = 0.01  # of a data set's rows; more than that fails the ingest
_HERE = Path(__file__).parent
_CODE = ("blocks", "ingest", "pictures")  # what blocks depend on, with the sources' readers


@dataclass(frozen=True)
class _Listed:
    """A data set whose rows are listed and whose labels are aligned, before its pictures are read."""

    name: str
    data_set: DataSet
    location: Location
    folder: Path
    fingerprint: str
    rows: list[SourceRow]
    labels: dict[str, list[Any]]


def ingest(case: Case) -> dict[str, Manifest]:
    """Make the blocks of every data set of a case that are not there yet; needs a running Ray.

    Returns:
        the manifests by data set.

    Raises:
        UserError: a source is empty, a label is outside the vocabulary, or too many rows could not be read.
    """
    if case.embedded == "digits":
        from pipelines.embedded.digits import write_digits

        write_digits(Path(str(case.data_root)))
    listed = _listed(case)
    manifests = {one.name: manifest for one in listed if (manifest := read_manifest(one.folder)) is not None}
    _make_blocks(case, [one for one in listed if one.name not in manifests])
    manifests = {one.name: manifests.get(one.name) or _finish(case, one) for one in listed}
    _check_annotated(case, manifests)
    return manifests


def _check_annotated(case: Case, manifests: dict[str, Manifest]) -> None:
    for split in ("train", "test"):
        for task in case.tasks:
            labelled = [name for name, data_set in case.of_split(split).items() if task in data_set.labels]
            if not sum(manifests[name].labels[task].annotated for name in labelled):
                raise UserError(
                    f"datasets: no row of split {split!r} is annotated for task {task!r} (found in "
                    f"{', '.join(f'{name}: {manifests[name].rows} rows' for name in labelled)}, all with empty labels)"
                )


def ingested(case: Case) -> dict[str, tuple[Path, Manifest]]:
    """Return the folder and manifest of every data set, which must have been ingested.

    Raises:
        UserError: one has not, or its source or settings have changed since.
    """
    found = {}
    for one in _listed(case):
        manifest = read_manifest(one.folder)
        if manifest is None:
            raise UserError(
                f"{one.name}: not ingested with these settings (there is no {one.folder / MANIFEST}); "
                "`kindred ingest` with the same case and --set comes first"
            )
        found[one.name] = one.folder, manifest
    return found


def _listed(case: Case) -> list[_Listed]:
    with bar("list sources", len(case.datasets), "data sets") as shown:
        listed: list[_Listed] = []
        for name, data_set in case.datasets.items():
            shown.show(len(listed), name)
            listed.append(_list(case, name, data_set))
    return listed


def _list(case: Case, name: str, data_set: DataSet) -> _Listed:
    location = locate(str(case.data_root), data_set.source.path)
    if location is None:
        raise UserError(f"datasets.{name}.source.path: nothing lies at {case.data_root}/{data_set.source.path}")
    rows = list_rows(data_set.source, location)
    if data_set.select is not None:
        rows = _selected(name, data_set, rows)
    if not rows:
        raise UserError(f"datasets.{name}: found no picture in {location}; at least one is needed")
    tasks = tasks_of(case)
    labels = {task: _aligned(case, data_set, task, tasks, rows, location) for task in data_set.labels}
    of = fingerprint(
        {
            "data_set": data_set.model_dump(mode="json", by_alias=True),
            "shape": case.input.shape,
            "tasks": {name: [task.kind, *tasks[name].outputs] for name, task in case.tasks.items()},
            "code": digest_of(*sorted(_HERE.glob("sources/*.py")), *(_HERE / f"{name}.py" for name in _CODE)),
            "rows": [[row.id, row.stamp] for row in rows],
            "labels": labels,
        }
    )
    return _Listed(name, data_set, location, blocks_folder(case, name, of), of, rows, labels)


def _selected(name: str, data_set: DataSet, rows: list[SourceRow]) -> list[SourceRow]:
    select = data_set.select
    assert select is not None
    if select.start + select.rows > len(rows):
        raise UserError(
            f"datasets.{name}.select: found rows {select.start} to {select.start + select.rows}; "
            f"the source has {len(rows)}"
        )
    order = np.random.Generator(np.random.PCG64(select.shuffle_seed)).permutation(len(rows))
    return [rows[i] for i in order[select.start : select.start + select.rows]]


def _aligned(
    case: Case,
    data_set: DataSet,
    task: str,
    tasks: dict[str, Task],
    rows: list[SourceRow],
    location: Location,
) -> list[Any]:
    rule = data_set.labels[task]
    found_in = rule.through or task
    multilabel = isinstance(case.tasks[found_in], MultilabelTask)
    try:
        labels = [read_label(rule, tasks[found_in].outputs, multilabel, row) for row in rows]
    except UserError as error:
        raise UserError(f"{location}, {error}") from None
    if rule.through is None:
        return labels
    edge = next(e for e in case.relatedness if (e.source, e.target) == (rule.through, task))
    table = relatedness_of(edge, tasks).table
    through: list[Any] = table.argmax(dim=1).tolist()
    if isinstance(case.tasks[task], MultilabelTask):
        through = table.bool().tolist()
    return [None if c is None else through[c] for c in labels]


def _parts(one: _Listed) -> Iterator[tuple[int, slice]]:
    for number, start in enumerate(range(0, len(one.rows), ROWS_PER_BLOCK)):
        yield number, slice(start, start + ROWS_PER_BLOCK)


def _make_blocks(case: Case, listed: list[_Listed]) -> None:
    import ray

    tasks = list(tasks_of(case).values())
    items = [
        {
            "settings": json.dumps({"data_set": one.name, "part": number, "folder": str(one.folder)}),
            "rows": json.dumps([[row.id, row.fetch] for row in one.rows[part]]),
            "labels": json.dumps({task: values[part] for task, values in one.labels.items()}),
        }
        for one in listed
        for number, part in _parts(one)
        if not _outcome_file(one.folder, number).is_file()
    ]
    if not items:
        return
    rows = sum(len(one.rows) for one in listed)
    locations = {one.name: one.location for one in listed}
    done = 0
    made = ray.data.from_items(items, override_num_blocks=len(items)).map(_make_block, fn_args=(case, tasks, locations))
    with bar("ingest", rows, "rows") as shown:
        shown.show(0)
        for outcome in made.iter_rows():
            done += outcome["rows_in"]
            shown.show(done)


def _outcome_file(folder: Path, part: int) -> Path:
    return folder / f"{part:05d}.json"


def _make_block(item: dict[str, Any], case: Case, tasks: list[Task], locations: dict[str, Location]) -> dict[str, Any]:
    """Fetch and decode a part's pictures, write its block and, last, what came of it."""
    settings, rows, labels = (json.loads(item[key]) for key in ("settings", "rows", "labels"))
    name, folder = settings["data_set"], Path(settings["folder"])
    data_set, location = case.datasets[name], locations[name]
    pictures: list[np.ndarray] = []
    kept: list[int] = []
    quarantined: list[dict[str, str]] = []
    fetched = fetch_pictures(data_set.source, location, [fetch for _, fetch in rows])
    for i, encoded in enumerate(fetched):
        try:
            if isinstance(encoded, Exception):
                raise encoded
            pictures.append(decode_picture(encoded, case.input.shape))
            kept.append(i)
        except Exception as error:  # whatever a broken picture raises, the row goes to quarantine
            reason = f"{type(error).__name__}: {error}"
            quarantined.append({"id": rows[i][0], "source": str(location), "reason": reason})
    schema = block_schema(case.input.shape, tasks)
    block = pa.table(
        [
            pa.array([rows[i][0] for i in kept], pa.string()),
            _tensor_array(pictures, schema.field("input").type),
            *(
                pa.array(
                    [labels[task.name][i] if task.name in labels else None for i in kept],
                    schema.field(task.name).type,
                )
                for task in tasks
            ),
            pa.array([str(location)] * len(kept), pa.string()),
            pa.array([data_set.split] * len(kept), pa.string()),
        ],
        schema=schema,
    )
    file = f"{settings['part']:05d}.arrow"
    outcome = {
        "block": {"file": file, "rows": len(kept), "sha256": write_block(folder / file, block)},
        "rows_in": len(rows),
        "quarantined": quarantined,
    }
    write_atomically(_outcome_file(folder, settings["part"]), json.dumps(outcome))
    return {"rows_in": len(rows)}


def _tensor_array(pictures: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    if not pictures:
        return pa.array([], kind.storage_type).cast(kind)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(pictures))


def _finish(case: Case, one: _Listed) -> Manifest:
    """Write the quarantine and the manifest of a data set whose blocks are all there."""
    outcomes = [json.loads(_outcome_file(one.folder, number).read_text()) for number, _ in _parts(one)]
    blocks = tuple(BlockEntry(**outcome["block"]) for outcome in outcomes)
    quarantined = [row for outcome in outcomes for row in outcome["quarantined"]]
    if quarantined:
        pq.write_table(pa.Table.from_pylist(quarantined), one.folder / "quarantine.parquet")
    if len(quarantined) > MOST_QUARANTINED * len(one.rows):
        for number, _ in _parts(one):  # what could not be read is tried again the next time
            _outcome_file(one.folder, number).unlink()
        reasons = Counter(row["reason"].split(":")[0] for row in quarantined)
        first = ", ".join(row["id"] for row in quarantined[:3]) + (", ..." if len(quarantined) > 3 else "")
        counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
        raise UserError(
            f"datasets.{one.name}: {len(quarantined)} of {len(one.rows)} rows could not be read ({counted}); "
            f"at most {MOST_QUARANTINED:.0%} may: {first}; all are listed in {one.folder / 'quarantine.parquet'}"
        )
    bad = {row["id"] for row in quarantined}
    good = [i for i, row in enumerate(one.rows) if row.id not in bad]
    manifest = Manifest(
        data_set=one.name,
        split=one.data_set.split,
        fingerprint=one.fingerprint,
        content_hash=fingerprint([block.sha256 for block in blocks]),
        rows_in=len(one.rows),
        rows=sum(block.rows for block in blocks),
        quarantined=len(quarantined),
        shape=case.input.shape,
        blocks=blocks,
        labels={task: _counted(case, task, [values[i] for i in good]) for task, values in one.labels.items()},
    )
    assert manifest.rows_in == manifest.rows + manifest.quarantined
    write_atomically(one.folder / MANIFEST, manifest.model_dump_json(indent=1))
    return manifest


def _counted(case: Case, task: str, labels: list[Any]) -> LabelCounts:
    outputs = tasks_of(case)[task].outputs
    counts = Counter[int]()
    annotated = 0
    for label in labels:
        held = [label] if isinstance(label, int) else [i for i, holds in enumerate(label or ()) if holds]
        annotated += label is not None and (isinstance(label, int) or any(holds is not None for holds in label))
        counts.update(held)
    return LabelCounts(annotated=annotated, histogram={name: counts[i] for i, name in enumerate(outputs)})
