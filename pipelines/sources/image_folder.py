"""The source `image_folder`: images in folders, on disk, in object storage or in an archive."""

import posixpath
from typing import ClassVar, Literal

import pyarrow as pa

from pipelines.sources.archives import archive_kind
from pipelines.sources.listing import Listing, of_files
from pipelines.sources.places import Place
from pipelines.sources.source import SourceSettings


class ImageFolder(SourceSettings):
    """Images in folders; the folder that an image lies in may be its class."""

    inputs: ClassVar[frozenset[str]] = frozenset({"picture"})
    labels_in_folders: ClassVar[bool] = True

    kind: Literal["image_folder"]

    def list_rows(self, place: Place) -> Listing:
        """List every image below a place."""
        return list_image_folder(place)


PICTURE_ENDINGS = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


def list_image_folder(place: Place) -> Listing:
    """List every image below a place; ``folder`` is the name of the folder that it lies in."""
    files = place.tree().files
    names = files["name"].to_pylist()
    kept = pa.array([i for i, name in enumerate(names) if is_picture(name)], pa.int64())
    files = files.take(kept)
    own = posixpath.basename(place.below or place.url.partition("?")[0].rstrip("/"))
    own = own if place.below or archive_kind(own) is None else ""  # an archive's name is no class
    folders = [name.rpartition("/")[0].rstrip("/").rpartition("/")[2] or own for name in files["name"].to_pylist()]
    return of_files(place, files["name"], files, pa.table({"folder": pa.array(folders, pa.string())}))


def is_picture(name: str) -> bool:
    """Say whether a file's name has an image's ending."""
    _, dot, ending = name.rpartition(".")
    return dot + ending.lower() in PICTURE_ENDINGS
