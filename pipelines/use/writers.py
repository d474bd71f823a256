"""Files of predictions: Parquet, CSV and JSON Lines, by their ending, written row group by row group."""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipelines.base.atomic import writing_atomically
from pipelines.base.errors import UserError
from pipelines.base.storage import file_system, is_remote

ENDINGS = (".parquet", ".csv", ".jsonl")
_COPIED_AT_ONCE = 8 << 20


def ending_of(out: str) -> str:
    """Return the ending of a file of predictions.

    Raises:
        UserError: it is none that is written.
    """
    plain = out.partition("?")[0] if is_remote(out) else out
    ending = next((one for one in ENDINGS if plain.lower().endswith(one)), None)
    if ending is None:
        raise UserError(f"--out: found {out!r}; expected a file that ends in {', '.join(ENDINGS)}")
    return ending


def write_tables(out: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write tables one after the other into one file, which appears whole or not at all.

    Args:
        out: a path or URL.
        tables: of that schema.
        schema: its metadata go into a Parquet file, and name the columns of probabilities in CSV.
    """
    ending = ending_of(out)
    if not is_remote(out):
        with writing_atomically(Path(out).absolute()) as file:
            _write(file, ending, tables, schema)
        return
    with tempfile.TemporaryFile() as scratch:
        _write(scratch, ending, tables, schema)
        scratch.seek(0)
        system, path = file_system(out)
        with system.open_output_stream(path, compression=None) as stream:
            shutil.copyfileobj(scratch, stream, _COPIED_AT_ONCE)


def _write(file: Any, ending: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    if ending == ".parquet":
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
    elif ending == ".csv":
        flat = _flattener(schema)
        with pacsv.CSVWriter(file, flat(schema.empty_table()).schema) as csv_writer:
            for table in tables:
                csv_writer.write_table(flat(table))
    else:
        for table in tables:
            for row in table.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def _flattener(schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """Return what makes cells of lists: a column an output of ``probabilities``, text with | between otherwise."""
    about: Mapping[str, list[str]] = json.loads((schema.metadata or {}).get(b"kindred", b"{}")).get("outputs", {})

    def flat(table: pa.Table) -> pa.Table:
        columns: dict[str, Any] = {}
        for field in table.schema:
            values = table[field.name].combine_chunks()
            task, dot, what = field.name.rpartition(".")
            if what == "probabilities" and dot and task in about:
                for i, name in enumerate(about[task]):
                    inner = values.values.take(pa.array(range(i, len(values.values), len(about[task])), pa.int64()))
                    columns[f"{task}.probability.{name}"] = inner
            elif pa.types.is_fixed_size_list(field.type):
                columns[field.name] = pa.array([json.dumps(one) for one in values.to_pylist()], pa.string())
            elif pa.types.is_list(field.type):
                joined = ["|".join(map(_cell, one or ())) for one in values.to_pylist()]
                columns[field.name] = pa.array(joined, pa.string())
            else:
                columns[field.name] = values
        return pa.table(columns)

    return flat


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
