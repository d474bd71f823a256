"""One part of a prediction: read its inputs, predict them, write what came of it. An actor holds the models."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.base.storage import StorageUnavailableError, join, write_whole
from pipelines.case.data import PictureInput, VectorInput
from pipelines.ingest.decode_rows import decode_rows
from pipelines.sources.source import SourceSettings
from pipelines.use.answers import Asked


@dataclass(frozen=True)
class Recipe:
    """What every part needs to know.

    Attributes:
        sources: how each INPUT's rows are read.
        input: what the models take.
        asked: what is wanted.
        folder: where the parts are written.
        run_code: whether a backbone of somebody's own may be run.
    """

    sources: tuple[SourceSettings, ...]
    input: PictureInput | VectorInput
    asked: Asked
    folder: str
    run_code: bool = False


def part_file(folder: str, key: str) -> str:
    """Return where a part's predictions stand."""
    return join(folder, f"{key}.parquet")


def outcome_file(folder: str, key: str) -> str:
    """Return where it stands what came of a part: written last, it says that the part is done."""
    return join(folder, f"{key}.json")


class Decoder:
    """Decode parts in processes of their own, where a GPU predicts: it would wait for one processor."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return the item with its inputs decoded."""
        try:
            rows = pa.ipc.open_stream(item["rows"]).read_all()
            inputs, kept, failed = decode_rows(rows, self._recipe.sources[item["source"]], self._recipe.input)
        except StorageUnavailableError as error:
            return item | {"decoded": None, "kept": "[]", "failed": "[]", "unavailable": str(error)}
        return item | {"decoded": inputs, "kept": json.dumps(kept), "failed": json.dumps(failed), "unavailable": ""}


class Predictor:
    """Predict parts: the models are loaded once.

    Args:
        recipe: what is wanted.
        models: the files of each model.
        device: where to compute.
    """

    def __init__(self, recipe: Recipe, models: Sequence[Mapping[str, bytes]], device: str = "cpu") -> None:
        import torch

        from pipelines.use.find_model import load_files

        if device == "cpu":
            torch.set_num_threads(1)
        self._recipe, self._device = recipe, device
        self._members = [load_files(files, run_code=recipe.run_code).to(device) for files in models]

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Predict a part and write it; return its key, how many rows were predicted, and what failed."""
        if item.get("unavailable"):
            return _told(item, 0, str(item["unavailable"]))
        try:
            rows = pa.ipc.open_stream(item["rows"]).read_all()
            if item.get("decoded") is None:
                inputs, kept, failed = decode_rows(rows, self._recipe.sources[item["source"]], self._recipe.input)
            else:
                inputs, kept, failed = item["decoded"], json.loads(item["kept"]), json.loads(item["failed"])
            if kept:
                self._write(item["key"], rows.take(pa.array(kept, pa.int64())), inputs)
            write_whole(
                outcome_file(self._recipe.folder, item["key"]), json.dumps({"rows": len(kept), "failed": failed})
            )
        except StorageUnavailableError as error:
            return _told(item, 0, str(error))
        return _told(item, len(rows), "")

    def _write(self, key: str, rows: pa.Table, inputs: np.ndarray) -> None:
        import torch

        from pipelines.use.answers import answer, outputs_metadata

        said = answer(self._members, torch.from_numpy(np.ascontiguousarray(inputs)), self._recipe.asked, self._device)
        whole = pa.table({"id": rows["id"], "source": rows["source"]} | {c: said[c] for c in said.column_names})
        sink = pa.BufferOutputStream()
        whole = whole.replace_schema_metadata(outputs_metadata(self._members[0].tasks))
        pq.write_table(whole, sink, compression="zstd")
        write_whole(part_file(self._recipe.folder, key), sink.getvalue())


def _told(item: Mapping[str, Any], done: int, unavailable: str) -> dict[str, Any]:
    return {"key": item["key"], "rows": done, "unavailable": unavailable}
