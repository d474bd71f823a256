"""Predict folders, archives and tables with a trained model, on Ray Data: `kindred predict`.

::

    list the INPUTs' rows with the ingest's sources, cut them into parts                     inputs.py, here
        -> an actor a processor or GPU loads the models and takes parts; of one part alone,
           on this machine, this process does it without a Ray                               predict_part.py
        -> in OUT.parts, a file a part and what came of it; those that are there are kept
        -> one file, in the order of the inputs; what cannot be read, in OUT-quarantine.parquet

A part is named by a digest of its rows with their files' sizes and times: a command that was killed goes on where it
was, and predicts again what has changed.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from mtlcore.exported import Description
from mtlcore.exported.folder import DESCRIPTION
from pipelines.base.errors import UserError
from pipelines.base.fingerprint import fingerprint
from pipelines.base.plain_json import read_json
from pipelines.base.progress import bar, note
from pipelines.base.ray_session import is_own_ray, need_ray
from pipelines.base.storage import (
    StorageUnavailableError,
    delete,
    is_remote,
    join,
    kind_of,
    list_folder,
    read_bytes,
    write_whole,
)
from pipelines.case.data import Input, PictureInput, VectorInput
from pipelines.ingest.chunks import digest
from pipelines.use.answers import Asked
from pipelines.use.find_model import Files
from pipelines.use.inputs import Listed, list_inputs
from pipelines.use.predict_part import Decoder, Predictor, Recipe, outcome_file, part_file
from pipelines.use.writers import ending_of, write_tables

_MOST_ROWS = 1024
_MOST_BYTES = 32 << 20  # of a part's inputs: what an actor holds at once
_PARTS_AT_ONCE = 1024  # given to Ray Data at a time: their rows lie in its memory
_ABOUT = "about.json"
QUARANTINED = pa.schema([("id", pa.string()), ("source", pa.string()), ("reason", pa.string())])


@dataclass(frozen=True)
class Predicted:
    """What a prediction came to; ``rows_in`` is always ``rows + quarantined``.

    Attributes:
        out: the file of predictions.
        quarantine: the file of what could not be read; None where all could.
        rows_in: rows that were found.
        rows: rows that were predicted.
        quarantined: rows that could not be read.
        kept: rows of these that an earlier command had done.
        seconds: how long the rest took.
    """

    out: str
    quarantine: str | None
    rows_in: int
    rows: int
    quarantined: int
    kept: int
    seconds: float

    @property
    def rate(self) -> float:
        """Rows a second, of those that were not kept."""
        return (self.rows_in - self.kept) / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        kept = f", {self.kept:,} of them by an earlier command" if self.kept else ""
        bad = f"; {self.quarantined:,} could not be read: {self.quarantine}" if self.quarantined else ""
        return f"{self.out}: {self.rows:,} rows{kept}, {self.rate:,.0f} a second{bad}"

    def as_dict(self) -> dict[str, Any]:
        """Return it for a program."""
        return asdict(self) | {"rows_per_second": round(self.rate, 1)}


@dataclass(frozen=True)
class _Part:
    key: str
    source: int
    rows: pa.Table


def input_of(description: Description) -> PictureInput | VectorInput:
    """Return what a model takes, as the case's own section."""
    declared: PictureInput | VectorInput = TypeAdapter(Input).validate_python(description.input)
    return declared


def predict(
    models: Sequence[Files],
    inputs: Sequence[str],
    out: str,
    asked: Asked,
    *,
    options: Mapping[str, Any] | None = None,
    run_code: bool = False,
) -> Predicted:
    """Predict inputs into a file; needs a Ray, or ``ray_on_demand`` around it.

    Args:
        models: as :func:`pipelines.use.find_model.find_model` returns them; several are an ensemble.
        inputs: folders, archives, tables, arrays, images, patterns or URLs.
        out: a path or URL that ends in .parquet, .csv or .jsonl.
        asked: what is wanted.
        options: keys of the inputs' sources.
        run_code: whether a backbone of somebody's own may be run.

    Raises:
        UserError: an input or OUT cannot be used.
        StorageUnavailableError: object storage does not answer; the same command goes on later.
    """
    ending_of(out)
    declared = input_of(Description.from_json(models[0][DESCRIPTION]))
    if len(inputs) > 1 or any("*" in path for path in inputs):
        need_ray()  # many archives and tables are listed in parallel
    with bar("list inputs", None, ""):
        listed = list_inputs(inputs, declared, options)
    return predict_listed(models, listed, out, asked, run_code=run_code)


def predict_listed(
    models: Sequence[Files],
    listed: Sequence[Listed],
    out: str,
    asked: Asked,
    *,
    run_code: bool = False,
    declared: PictureInput | VectorInput | None = None,
) -> Predicted:
    """Predict rows that are listed already; see :func:`predict`. ``declared`` stands in for the models' own input."""
    declared = declared or input_of(Description.from_json(models[0][DESCRIPTION]))
    parts, refused = _parts(listed, declared)
    folder = _beside(out, ".parts")
    recipe = Recipe(tuple(one.source for one in listed), declared, asked, folder, run_code)
    done_before = _begin(folder, models, asked)
    missing = [part for part in parts if part.key not in done_before]
    start = time.monotonic()
    rows_in = sum(len(part.rows) for part in parts) + len(refused)
    left = sum(len(part.rows) for part in missing)
    with bar("predict", left, "inputs", rate=True) as shown:
        shown.show(0)
        done = 0
        for n in _predict_parts(missing, recipe, models):
            done += n
            shown.show(done)
    seconds = time.monotonic() - start
    outcomes = [outcome for part in parts if (outcome := _outcome(folder, part.key)) is not None]
    failed = pa.Table.from_pylist([row for outcome in outcomes for row in outcome["failed"]], schema=QUARANTINED)
    quarantined = pa.concat_tables([refused, failed])
    predicted = sum(outcome["rows"] for outcome in outcomes)
    assert predicted + len(quarantined) == rows_in
    if not predicted:
        raise UserError(f"INPUT: none of {rows_in} rows could be read; the first: {quarantined['reason'][0].as_py()}")
    keys = [part.key for part, outcome in zip(parts, outcomes, strict=True) if outcome["rows"]]
    schema = pq.read_schema(pa.BufferReader(read_bytes(part_file(folder, keys[0]))))
    write_tables(out, (_read(folder, key) for key in keys), schema)
    file = _write_quarantine(out, quarantined)
    _clear(folder)
    return Predicted(out, file, rows_in, predicted, len(quarantined), rows_in - left - len(refused), seconds)


def _parts(listed: Sequence[Listed], declared: PictureInput | VectorInput) -> tuple[list[_Part], pa.Table]:
    bytes_a_row = int(np.prod(declared.shape)) * (4 if len(declared.shape) == 1 else 1)
    most = max(16, min(_MOST_ROWS, _MOST_BYTES // bytes_a_row))
    parts: list[_Part] = []
    refused = [QUARANTINED.empty_table()]
    seen: dict[str, int] = {}
    for number, one in enumerate(listed):
        rows = one.listing.rows
        usable = pc.is_null(rows["refused"])
        wrong = rows.filter(pc.invert(usable))
        refused.append(pa.table([wrong["id"], wrong["source"], wrong["refused"]], schema=QUARANTINED))
        whole = rows.filter(usable).combine_chunks()
        settings = fingerprint(one.source.model_dump(mode="json"))
        for start in range(0, len(whole), most):
            part = whole.slice(start, most)
            key = fingerprint([digest(part), settings])
            seen[key] = seen.get(key, 0) + 1  # the same rows twice are two parts
            parts.append(_Part(key if seen[key] == 1 else f"{key}-{seen[key]}", number, part))
    return parts, pa.concat_tables(refused)


def _begin(folder: str, models: Sequence[Files], asked: Asked) -> set[str]:
    """Return the parts that are done; those of another model or with other columns are deleted."""
    digests = [{name: hashlib.sha256(content).hexdigest() for name, content in files.items()} for files in models]
    about = json.dumps({"models": digests, "asked": asdict(asked)}, sort_keys=True)
    try:
        same = read_bytes(join(folder, _ABOUT)).decode() == about
    except FileNotFoundError:
        same = False
    if not same:
        _clear(folder)
        write_whole(join(folder, _ABOUT), about)
        return set()
    named = {name.removesuffix(".json") for name in list_folder(folder) if name.endswith(".json")} - {"about"}
    there = {key for key in named if _outcome(folder, key) is not None}
    if there:
        note(f"{folder}: {len(there)} parts are there already")
    return there


def _outcome(folder: str, key: str) -> dict[str, Any] | None:
    """Return what a part came to; None of one whose record is damaged, or whose rows are not there."""
    try:
        outcome = read_json(outcome_file(folder, key))
        whole = isinstance(outcome["rows"], int) and isinstance(outcome["failed"], list)
    except (ValueError, KeyError, TypeError):
        return None
    return outcome if whole and (not outcome["rows"] or kind_of(part_file(folder, key)) == "file") else None


def _clear(folder: str) -> None:
    """Delete what a prediction has written, and nothing else."""
    names = [name for name in list_folder(folder) if name.endswith((".json", ".parquet"))]
    for name in sorted(names, key=lambda name: not name.endswith(".json")):
        delete(join(folder, name))
    if not is_remote(folder) and Path(folder).is_dir() and not any(Path(folder).iterdir()):
        Path(folder).rmdir()


def _predict_parts(parts: Sequence[_Part], recipe: Recipe, models: Sequence[Files]) -> Iterator[int]:
    """Predict parts; yield the rows of each as soon as it is done."""
    if not parts:
        return
    if len(parts) == 1 and is_own_ray():
        yield _predict_here(parts[0], recipe, models)
        return
    need_ray()
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    gpus = int(ray.cluster_resources().get("GPU", 0))
    cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
    context = DataContext.get_current().copy()
    context.op_resource_reservation_enabled = False  # of one operator, which would begin with a single processor
    kept_models = ray.put([dict(files) for files in models])
    for start in range(0, len(parts), _PARTS_AT_ONCE):
        wave = parts[start : start + _PARTS_AT_ONCE]
        items = [_item(part) for part in wave]
        with DataContext.current(context):
            data = ray.data.from_items(items, override_num_blocks=len(items))
            if gpus:
                data = data.map(Decoder(recipe))
            workers = min(gpus or cpus, len(items))
            data = data.map(
                _Actor,
                fn_constructor_args=(recipe, kept_models, "cuda" if gpus else "cpu"),
                compute=ActorPoolStrategy(size=workers),
                num_cpus=0 if gpus else 1,
                num_gpus=1 if gpus else 0,
            )
        for outcome in data.iter_rows():
            yield _rows_of(outcome)


def _predict_here(part: _Part, recipe: Recipe, models: Sequence[Files]) -> int:
    """Predict a part in this process, as an actor would, which takes seconds to start; return its rows."""
    import torch

    threads = torch.get_num_threads()
    try:
        return _rows_of(Predictor(recipe, models, "cuda" if torch.cuda.is_available() else "cpu")(_item(part)))
    finally:
        torch.set_num_threads(threads)


def _item(part: _Part) -> dict[str, Any]:
    return {"key": part.key, "source": part.source, "rows": _stream(part.rows)}


def _rows_of(outcome: Mapping[str, Any]) -> int:
    if outcome["unavailable"]:
        raise StorageUnavailableError(outcome["unavailable"])
    return int(outcome["rows"])


class _Actor(Predictor):
    """A predictor whose models lie in Ray's object store: each machine fetches them once."""

    def __init__(self, recipe: Recipe, kept_models: Any, device: str) -> None:
        import ray

        super().__init__(recipe, ray.get(kept_models), device)


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.take(pa.array(range(len(rows)), pa.int64())).combine_chunks())
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def _read(folder: str, key: str) -> pa.Table:
    return pq.read_table(pa.BufferReader(read_bytes(part_file(folder, key))))


def _beside(out: str, what: str) -> str:
    """Return the path or URL of a file or folder beside OUT: its name without the ending, and ``what``."""
    plain, mark, query = out.partition("?") if is_remote(out) else (out, "", "")
    return plain[: -len(ending_of(out))] + what + mark + query


def _write_quarantine(out: str, quarantined: pa.Table) -> str | None:
    file = _beside(out, "-quarantine.parquet")
    if not len(quarantined):
        delete(file)
        return None
    write_tables(file, [quarantined], QUARANTINED)
    return file
