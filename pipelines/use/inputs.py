"""What is to be predicted: folders, archives, tables, arrays and images, listed by the ingest's own sources."""

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from pipelines.base.errors import UserError
from pipelines.base.storage import is_remote, kind_of
from pipelines.case.data import PictureInput, VectorInput
from pipelines.ingest.boxes import check_there, crop_of, with_boxes
from pipelines.sources.archives import archive_kind
from pipelines.sources.image_folder import is_picture
from pipelines.sources.list_source import list_source
from pipelines.sources.listing import Listing, of_files
from pipelines.sources.places import Place, split_at_archive
from pipelines.sources.registry import SOURCES
from pipelines.sources.source import SourceSettings

_TABLES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "json_lines",
    ".ndjson": "json_lines",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npy": "numpy",
    ".npz": "numpy",
}


class PictureFile(SourceSettings):
    """Images, each named by itself."""

    of_files: ClassVar[bool] = True
    inputs: ClassVar[frozenset[str]] = frozenset({"picture"})

    kind: Literal["picture_file"]

    def list_rows(self, place: Place) -> Listing:
        """List the file."""
        assert place.file is not None
        files = place.tree().find(pa.array([place.file]))
        name = posixpath.basename(place.file) if place.alone else ""
        fields = pa.table({"file": pa.array([place.name], pa.string())})
        listing = of_files(place, pa.array([name], pa.string()), files, fields)
        return listing if place.alone else _with_ids(listing, pa.array([place.name], pa.string()))


@dataclass(frozen=True)
class Listed:
    """One INPUT: how its rows are read, and which they are.

    Attributes:
        source: its settings.
        listing: its rows, in its own order.
    """

    source: SourceSettings
    listing: Listing


def list_inputs(
    paths: Sequence[str], declared: PictureInput | VectorInput, options: Mapping[str, Any] | None = None
) -> list[Listed]:
    """List what lies at some paths; ids begin with the path where there are several.

    Args:
        paths: folders, archives, tables, arrays, images, patterns or URLs.
        declared: what the model takes; of a vector, the columns are taken by their names.
        options: keys of the sources (``file_column``, ``id_column``, ``delimiter``, ...); and ``crop``: false where
            the model takes a part of each image, and these are cropped already.

    Raises:
        UserError: nothing lies there, it cannot be read, or lacks a column.
    """
    root, found = str(Path.cwd()), []
    options = dict(options or {})
    crop = crop_of(declared) if options.pop("crop", True) else None
    for path in paths:
        source = source_of(path, declared, dict(options))
        try:
            listing = list_source(root, source, quarantine_broken_archives=True)
        except UserError as error:
            raise UserError(f"INPUT {path}: {error}") from None
        if crop is not None:
            if pc.any(pc.is_null(listing.rows["refused"])).as_py():
                check_there(crop, listing.fields.column_names, f"INPUT {path}")
            listing = with_boxes(listing, declared, f"INPUT {path}")
        if len(paths) > 1:
            ids = listing.rows["id"]
            whole = pc.if_else(pc.starts_with(ids, path), ids, pc.binary_join_element_wise(path, ids, "/"))
            listing = _with_ids(listing, whole)
        found.append(Listed(source, listing))
    return found


def source_of(path: str, declared: PictureInput | VectorInput, options: dict[str, Any]) -> SourceSettings:
    """Return the settings of the source that reads a path: by its ending; a folder or archive holds images.

    Raises:
        UserError: it is none that the model could take, or an option is wrong.
    """
    plain = path.partition("?")[0] if is_remote(path) else path
    ending = posixpath.splitext(plain)[1].lower()
    kind = _TABLES.get(ending)
    settings: dict[str, Any] = {"path": path} | options
    if kind is None and is_picture(plain):
        kind = "picture_file"
    elif kind is None:
        inside = split_at_archive(plain)[0] is not None or archive_kind(plain) is not None
        if not (inside or "*" in plain or is_remote(plain) or kind_of(plain) in ("folder", "none")):
            known = ", ".join([*_TABLES, "an image's", "an archive's"])
            raise UserError(f"INPUT: found {path!r}, a file of no known kind; expected one of the endings {known}")
        kind = "image_folder"
    if isinstance(declared, VectorInput):
        if kind in ("image_folder", "picture_file"):
            tables = ", ".join(_TABLES)
            raise UserError(f"INPUT: found {path!r}; the model takes vectors; expected a table or arrays ({tables})")
        if kind != "numpy":
            settings.setdefault("vector_columns", [one.model_dump() for one in declared.table_columns])
            if not settings["vector_columns"]:
                raise UserError(
                    f"INPUT: found {path!r}, and the model was trained on arrays, so that it knows no columns; "
                    "expected .npy or .npz, or --source vector_columns=[...]"
                )
    if kind == "csv" and ending == ".tsv":
        settings.setdefault("delimiter", "\t")
    model = PictureFile if kind == "picture_file" else SOURCES[kind]
    try:
        return model.model_validate({"kind": kind} | settings)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UserError(f"--source {where}: {problem['msg']} (of {path}, read as {kind})") from None


def _with_ids(listing: Listing, ids: pa.Array) -> Listing:
    rows = listing.rows.set_column(listing.rows.schema.get_field_index("id"), "id", ids)
    return Listing(rows, listing.fields, listing.notes, listing.vector_columns)
