"""The boxes, or pairs of eyes, by which images are cropped: read from columns, beside the rows of a listing.

A column ``BOX`` is added to the rows: four numbers each, left, top, right and bottom, or x and y of two eyes. It is
there only where a case crops, so that other cases' rows, and with them their blocks, are what they are without.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.base.errors import UserError
from pipelines.case.crop import Crop
from pipelines.case.data import DataSet, PictureInput, VectorInput
from pipelines.ingest.framing import Box
from pipelines.sources.cells import distinct_cells
from pipelines.sources.listing import Listing, column

BOX = "input.box"  # with a point: no task is called so
_TYPE = pa.list_(pa.float64())
_MOST = 1e9  # pixels from the upper left corner


def input_of_data_set(declared: PictureInput | VectorInput, data_set: DataSet) -> PictureInput | VectorInput:
    """Return what a case declares of inputs, as it is for one of its datasets: another may have other columns."""
    return with_own_crop(declared, data_set.crop)


def with_own_crop(
    declared: PictureInput | VectorInput, crop: Crop | Literal[False] | None
) -> PictureInput | VectorInput:
    """Return what a case declares of inputs, with a source's own crop: false, whole images; None, no change."""
    if isinstance(declared, VectorInput) or crop is None:
        return declared
    return declared.model_copy(update={"crop": crop or None})


def crop_of(declared: PictureInput | VectorInput) -> Crop | None:
    """Return by what columns a part of each image is taken; None where all of it is."""
    return declared.crop if isinstance(declared, PictureInput) else None


def check_there(crop: Crop, names: Sequence[str], what: str) -> None:
    """Refuse inputs to be predicted that lack the columns by which the model takes a part of each image.

    Raises:
        UserError: names them.
    """
    if lacking := [name for name in crop.columns if name not in names]:
        raise UserError(
            f"{what}: the model takes a part of each image, by the columns {', '.join(crop.columns)}; found no "
            f"{lacking[0]!r}; expected a table with them, or to be told that images are cropped already "
            "(kindred predict --source crop=false, Model.predict(crop=False))"
        )


def with_boxes(listing: Listing, declared: PictureInput | VectorInput, where: object) -> Listing:
    """Let every row carry its box, where images are cropped.

    Args:
        listing: the rows.
        declared: what the case says that inputs are.
        where: the source, for messages.

    Raises:
        UserError: a column is not there, or most rows' eyes are exchanged.
    """
    crop = crop_of(declared)
    if crop is None:
        return listing
    usable = pc.is_null(listing.rows["refused"]).to_numpy(zero_copy_only=False)
    if not usable.any():  # there may not even be columns
        return replace(listing, rows=listing.rows.append_column(BOX, pa.nulls(len(listing), _TYPE)))
    boxes, reasons = boxes_of(listing.fields, crop, where)
    exchanged = np.isfinite(boxes).all(axis=1) & (boxes[:, 0] > boxes[:, 2]) & usable
    if crop.is_aligned and 2 * exchanged.sum() > usable.sum():
        raise UserError(
            f"{where}: in {exchanged.sum():,} of {usable.sum():,} rows the left eye lies to the right of the right "
            "one; expected left_eye to be the one at the left of the image: exchange the two"
        )
    there = np.array([reason is None for reason in reasons])
    column_of_boxes = pa.array([box if ok else None for box, ok in zip(boxes.tolist(), there, strict=True)], _TYPE)
    rows = listing.rows.append_column(BOX, column_of_boxes)
    refused = pc.coalesce(rows["refused"], pa.chunked_array([pa.array(reasons, pa.string())]))
    rows = rows.set_column(rows.schema.get_field_index("refused"), "refused", refused)
    return replace(listing, rows=rows)


def boxes_of(fields: pa.Table, crop: Crop, where: object) -> tuple[np.ndarray, list[str | None]]:
    """Read boxes, or eyes, from the columns of a table.

    Returns:
        float64 (n, 4): left, top, right, bottom, or x and y of two eyes; and why a row has none, None where it has.

    Raises:
        UserError: a column is not there.
    """
    read = [_numbers(column(fields, name, where), name) for name in crop.columns]
    boxes = np.stack([values for values, _ in read], axis=1)
    if crop.width is not None:
        boxes[:, 2:] += boxes[:, :2]
    reasons: list[str | None] = [next(filter(None, told), None) for told in zip(*(r for _, r in read), strict=True)]
    flat = _flat_boxes(boxes, crop)
    for i in np.flatnonzero(flat).tolist():
        reasons[i] = reasons[i] or (
            "no box: both eyes lie at one place"
            if crop.is_aligned
            else f"no box: it is {boxes[i, 2] - boxes[i, 0]:g} wide and {boxes[i, 3] - boxes[i, 1]:g} high"
        )
    return boxes, reasons


def box_list(rows: pa.Table) -> list[Box | None]:
    """Return the box of every row, None where it has none."""
    if BOX not in rows.column_names:
        return [None] * len(rows)
    boxes: list[Box | None] = [None if box is None else tuple(box) for box in rows[BOX].to_pylist()]
    return boxes


def _flat_boxes(boxes: np.ndarray, crop: Crop) -> np.ndarray:
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    flat: np.ndarray = (width == 0) & (height == 0) if crop.is_aligned else ~((width > 0) & (height > 0))
    return flat


def _numbers(cells: Any, name: str) -> tuple[np.ndarray, list[str | None]]:
    """Return a column's numbers, NaN where there is none, and why there is none."""
    if pa.types.is_nested(cells.type):
        raise UserError(f"column {name!r}: found {cells.type}; expected a number in each cell")
    which, texts = distinct_cells(cells)
    numbers = np.full(len(texts) + 1, np.nan)
    told: list[str | None] = [f"no box: column {name!r} is empty"] * (len(texts) + 1)
    for i, text in enumerate(texts):
        if text is None:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if abs(value) < _MOST:  # and is no NaN
            numbers[i], told[i] = value, None
        elif text.lower() != "nan":
            told[i] = f"no box: found {text!r} in column {name!r}; expected a number"
    # a null is the last, by its number -1
    return numbers[which], [told[k] for k in which.tolist()]
