"""A trained model in a program or a notebook: load it and predict tables, files and arrays, without Ray."""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from mtlcore import Task
from mtlcore.exported import ExportedModel
from pipelines.base.errors import UserError
from pipelines.base.plain_json import read_small
from pipelines.case.data import Input, PictureInput, VectorInput
from pipelines.ingest.boxes import boxes_of, check_there, crop_of
from pipelines.ingest.decode import decode_input
from pipelines.ingest.decode_rows import decode_rows
from pipelines.ingest.framing import Box
from pipelines.ingest.make_block import reason_of
from pipelines.ingest.unusable import UnusableInputError
from pipelines.sources.table_columns import encode, resolved
from pipelines.use.answers import Asked, answer, check_alike
from pipelines.use.find_model import Files, find_model, load_files
from pipelines.use.inputs import list_inputs

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 1024


class Model:
    """A trained model, or the ensemble of several: what :func:`load_model` returns.

    Args:
        files: of each member, as ``kindred export`` writes them.
        run_code: whether a backbone ``package.module:callable`` may be imported and called.

    Attributes:
        members: the models as PyTorch modules, in evaluation mode.
        tasks: the tasks that it predicts, by name.
        input: what it takes.
    """

    def __init__(self, files: Sequence[Files], *, run_code: bool = False) -> None:
        from pydantic import TypeAdapter

        self.files = [dict(of_member) for of_member in files]
        self.members: list[ExportedModel] = [load_files(of_member, run_code=run_code) for of_member in files]
        check_alike(self.members)
        self.tasks: dict[str, Task] = self.members[0].tasks
        self.input: PictureInput | VectorInput = TypeAdapter(Input).validate_python(self.members[0].description.input)

    def predict(
        self,
        data: Any,
        *,
        full: bool = False,
        embeddings: bool = False,
        calibrated: bool = True,
        device: str = "cpu",
        crop: bool = True,
    ) -> "pd.DataFrame":
        """Predict inputs; return a row each, in their order.

        Args:
            data: a table (pandas.DataFrame, pyarrow.Table) with the model's columns, or, of images, with a column
                ``image`` (bytes, arrays or Pillow images) or ``file`` (paths); paths of images, folders, archives and
                tables; encoded images (bytes), Pillow images; or arrays: images (N, height, width) or (N, height,
                width, 3) of any size, a torch.Tensor (N, channels, height, width) of the model's, vectors (N, size).
            full: the probabilities of all classes and labels too.
            embeddings: what goes into the heads too.
            calibrated: divide by the temperature and decide at the thresholds that the validation split chose.
            device: where to compute.
            crop: of a model that takes a part of each image by columns of its table (``input.crop``), whether it does
                so here; false where images are cropped already. A torch.Tensor is the model's input as it is.

        Returns:
            by task ``<task>`` (the class, or the list of labels that hold) and ``<task>.probability``; and ``problem``,
            why an input cannot be read, where there is one that cannot: what is predicted of it is missing. The index
            is the DataFrame's, or the path.

        Raises:
            UserError: the data are none that the model takes.
        """
        import pandas as pd

        asked = Asked(full, embeddings, calibrated)
        parts, index, problems = [], [], {}
        for member in self.members:
            member.to(device)
        at = 0
        for inputs, kept, names, failed in self._batches(data, crop=crop):
            if len(kept):
                said = answer(self.members, inputs, asked, device).to_pandas()
                said.index = pd.Index([at + place for place in kept])
                parts.append(said)
            problems.update({at + place: reason for place, reason in failed.items()})
            index += names
            at += len(names)
        if not index:
            raise UserError("predict: found no input; expected at least one")
        if not parts:
            raise UserError(f"predict: none of {len(index)} inputs can be read; the first: {problems[0]}")
        found = pd.concat(parts).reindex(range(len(index)))
        if problems:
            found["problem"] = pd.Series(problems, dtype=object).reindex(range(len(index)))
        found.index = data.index if isinstance(data, pd.DataFrame) else pd.Index(index)
        return found

    def save(self, folder: str | Path) -> Path:
        """Write weights and description of a single model into a folder, as :func:`mtlcore.load_exported` reads it.

        Raises:
            UserError: it is an ensemble.
        """
        if len(self.files) > 1:
            raise UserError(f"save: found an ensemble of {len(self.files)}; expected one model")
        for name, content in self.files[0].items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(content)
        return Path(folder)

    def __repr__(self) -> str:
        first = self.members[0].description
        several = f", ensemble of {len(self.members)}" if len(self.members) > 1 else f", seed {first.seed}"
        takes = " x ".join(map(str, self.input.shape))
        return f"Model({first.case}: {first.arm}{several}; {', '.join(self.tasks)}; inputs {takes})"

    def _batches(self, data: Any, *, crop: bool) -> Iterable[tuple[Tensor, list[int], list[Any], dict[int, str]]]:
        """Yield inputs, their places in the part, the part's names, and why others of it cannot be read."""
        if isinstance(data, str | Path) or (
            _is_list(data) and data and all(isinstance(one, str | Path) for one in data)
        ):
            yield from self._of_paths([data] if isinstance(data, str | Path) else data, crop=crop)
            return
        frame = _as_table(data)
        boxes = self._boxes(frame) if crop and not isinstance(data, Tensor) else None
        if frame is not None and isinstance(self.input, VectorInput):
            yield from self._of_columns(frame)
            return
        if frame is not None:
            data = _column_of_images(data, frame)
            if all(isinstance(one, str | Path) for one in data):
                data = [Path(one) for one in data]  # each is read where what is wrong with it is told
        if isinstance(data, Tensor):
            yield from self._of_tensor(data)
            return
        if isinstance(data, bytes) or type(data).__module__.startswith("PIL."):
            data = [data]
        whole = data if isinstance(data, np.ndarray) else list(data)
        if isinstance(whole, np.ndarray) and whole.ndim == (1 if isinstance(self.input, VectorInput) else 2):
            whole = whole[None]
        for start in range(0, len(whole), _AT_ONCE):
            yield self._of_arrays(whole[start : start + _AT_ONCE], start, boxes)

    def _boxes(self, frame: pa.Table | None) -> tuple[Sequence[Box], Sequence[str | None]] | None:
        """Return the boxes of a table's rows, and why a row has none; None where the model takes whole images."""
        crop = crop_of(self.input)
        if crop is None:
            return None
        check_there(crop, [] if frame is None else frame.column_names, "predict")
        assert frame is not None
        boxes, reasons = boxes_of(frame, crop, "predict")
        return [(a, b, c, d) for a, b, c, d in boxes.tolist()], reasons

    def _of_paths(
        self, paths: Sequence[str | Path], *, crop: bool
    ) -> Iterable[tuple[Tensor, list[int], list[Any], dict[int, str]]]:
        for one in list_inputs([str(path) for path in paths], self.input, {} if crop else {"crop": False}):
            rows = one.listing.rows
            for start in range(0, len(rows), _AT_ONCE):
                part = rows.slice(start, _AT_ONCE)
                told: list[str | None] = part["refused"].to_pylist()
                usable = [i for i, reason in enumerate(told) if reason is None]
                inputs, kept, failed = decode_rows(part.take(pa.array(usable, pa.int64())), one.source, self.input)
                ids = part["id"].to_pylist()
                reasons = {row["id"]: row["reason"] for row in failed}
                missing = {i: told[i] or reasons[ids[i]] for i in range(len(ids)) if told[i] or ids[i] in reasons}
                yield torch.from_numpy(inputs), [usable[i] for i in kept], ids, missing

    def _of_columns(self, table: pa.Table) -> Iterable[tuple[Tensor, list[int], list[Any], dict[int, str]]]:
        assert isinstance(self.input, VectorInput)
        if not self.input.table_columns:
            raise UserError(
                "predict: found a table, and the model was trained on arrays, so that it knows no columns; expected an "
                f"array (N, {self.input.size})"
            )
        columns = resolved(table.column_names, self.input.table_columns, "predict")
        for start in range(0, len(table), _AT_ONCE):
            part = table.slice(start, _AT_ONCE)
            vectors, reasons = encode(part, columns)
            usable = [i for i, reason in enumerate(reasons) if reason is None]
            inputs = np.zeros((len(usable), self.input.size), np.float32)
            for place, i in enumerate(usable):
                inputs[place], _ = decode_input(np.asarray(vectors[i].as_py(), np.float32), self.input)
            names = list(range(start, start + len(part)))
            yield torch.from_numpy(inputs), usable, names, {i: r for i, r in enumerate(reasons) if r is not None}

    def _of_tensor(self, data: Tensor) -> Iterable[tuple[Tensor, list[int], list[Any], dict[int, str]]]:
        try:
            self.members[0].check(data)
        except ValueError as error:
            raise UserError(f"predict: {error}") from None
        for start in range(0, len(data), _AT_ONCE):
            part = data[start : start + _AT_ONCE].cpu()
            yield part, list(range(len(part))), list(range(start, start + len(part))), {}

    def _of_arrays(
        self, values: Any, start: int, boxes: tuple[Sequence[Box], Sequence[str | None]] | None
    ) -> tuple[Tensor, list[int], list[Any], dict[int, str]]:
        made, kept, failed = [], [], {}
        for i, value in enumerate(values):
            try:
                if boxes is not None and (problem := boxes[1][start + i]) is not None:
                    raise UnusableInputError(problem)
                box = None if boxes is None else boxes[0][start + i]
                made.append(decode_input(_encoded_or_pixels(value), self.input, box)[0])
                kept.append(i)
            except Exception as error:  # whatever a broken image raises; it is told beside its row
                failed[i] = reason_of(error)
        dtype = torch.uint8 if isinstance(self.input, PictureInput) else torch.float32
        inputs = torch.from_numpy(np.stack(made)) if made else torch.zeros(0, *self.input.shape, dtype=dtype)
        return inputs, kept, list(range(start, start + len(values))), failed


def load_model(
    place: str | Path,
    arm: str | None = None,
    seed: int | None = None,
    *,
    ensemble: bool = False,
    run_code: bool = False,
) -> Model:
    """Load a model from the folder of ``kindred export``, or of an experiment.

    Args:
        place: a path or URL.
        arm: of an experiment, the arm; co-trained by default.
        seed: of an experiment, the run's seed; the best on the validation split by default.
        ensemble: of an experiment, all seeds of the arm: their probabilities' mean.
        run_code: whether code that the place names, ``package.module:callable``, may be imported and called: a
            backbone, and of an experiment whatever its case names. Say so where you trust who made it.

    Raises:
        UserError: there is neither, or no such run, or it names code and ``run_code`` is False.
    """
    return Model(find_model(str(place), arm, seed, ensemble=ensemble, run_code=run_code), run_code=run_code)


def _is_list(data: Any) -> bool:
    return isinstance(data, list | tuple)


def _as_table(data: Any) -> pa.Table | None:
    if isinstance(data, pa.Table):
        return data
    if type(data).__module__.startswith("pandas") and hasattr(data, "columns"):
        try:
            return pa.Table.from_pandas(data, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # columns of objects: images, cells of mixed types
            columns = {str(name): _objects(data[name]) for name in data.columns}
            return pa.table({name: column for name, column in columns.items() if column is not None})
    return None


def _objects(values: Any) -> pa.Array | None:
    """Return a column of mixed cells as text; None of what no table holds."""
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        cells = [None if one is None or (isinstance(one, float) and one != one) else str(one) for one in values]
        return pa.array(cells, pa.string())


def _column_of_images(data: Any, table: pa.Table) -> list[Any]:
    for name in ("image", "file"):
        if name in getattr(data, "columns", ()) if not isinstance(data, pa.Table) else name in data.column_names:
            return list(data[name]) if not isinstance(data, pa.Table) else data[name].to_pylist()
    raise UserError(
        f"predict: found a table with the columns {', '.join(table.column_names[:6])}; the model takes images: "
        "expected a column 'image' (bytes, arrays) or 'file' (paths)"
    )


def _encoded_or_pixels(value: Any) -> bytes | np.ndarray:
    if isinstance(value, bytes | np.ndarray):
        return value
    if isinstance(value, Path):
        return read_small(str(value))
    if isinstance(value, Mapping) and value.get("bytes"):  # as Hugging Face keeps an image
        return bytes(value["bytes"])
    if type(value).__module__.startswith("PIL."):
        sink = io.BytesIO()
        value.save(sink, format="PNG" if value.mode not in ("CMYK", "F") else "TIFF")
        return sink.getvalue()
    return np.asarray(value)
