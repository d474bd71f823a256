"""The source `image_folder`: images in folders, on disk, in object storage or in an archive."""

import posixpath
from collections.abc import Sequence
from typing import ClassVar, Literal

import pyarrow as pa

from pipelines.sources.archives import archive_kind
from pipelines.sources.fetch import first_bytes
from pipelines.sources.listing import Listing, of_files
from pipelines.sources.places import Place
from pipelines.sources.signatures import is_encoded_image
from pipelines.sources.source import SourceSettings
from pipelines.sources.tree import NO_FILE


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
    """List every image below a place; ``folder`` is the name of the folder that it lies in.

    A file whose ending is no image's is one where its first bytes are; of the others it is noted how many there are.
    """
    every = place.tree().files
    names = every["name"].to_pylist()
    unknown = [i for i, name in enumerate(names) if not is_picture(name)]
    by_content, ignored = _by_content(every, names, unknown)
    leave_out = set(unknown) - set(by_content)
    files = every.take(pa.array([i for i in range(len(names)) if i not in leave_out], pa.int64()))
    own = posixpath.basename(place.below or place.url.partition("?")[0].rstrip("/"))
    own = own if place.below or archive_kind(own) is None else ""  # an archive's name is no class
    folders = [name.rpartition("/")[0].rstrip("/").rpartition("/")[2] or own for name in files["name"].to_pylist()]
    listing = of_files(place, files["name"], files, pa.table({"folder": pa.array(folders, pa.string())}))
    notes = {f"files that are no image are left out: {_ending(name)}": 0 for name in ignored}
    for name in ignored:
        notes[f"files that are no image are left out: {_ending(name)}"] += 1
    if by_content:
        notes["images by their first bytes, whatever they are called"] = len(by_content)
    return listing.with_notes(notes)


def _by_content(every: pa.Table, names: Sequence[str], unknown: Sequence[int]) -> tuple[list[int], list[str]]:
    """Look into files whose ending says nothing: return those that are images, and the names of those that are not."""
    refused = every["refused"].to_pylist()
    images = [i for i in unknown if refused[i] == NO_FILE]  # listed, so that it is counted and set aside
    asked = [i for i in unknown if refused[i] is None]
    ignored = [names[i] for i in unknown if refused[i] not in (None, NO_FILE)]
    heads = first_bytes(every.take(pa.array(asked, pa.int64())), 32)
    for i, head in zip(asked, heads, strict=True):
        if is_encoded_image(head):
            images.append(i)
        else:
            ignored.append(names[i])
    return images, ignored


def _ending(name: str) -> str:
    stem, dot, ending = posixpath.basename(name).rpartition(".")
    return f"*.{ending.lower()}" if dot and stem else "without an ending"


def is_picture(name: str) -> bool:
    """Say whether a file's name has an image's ending."""
    _, dot, ending = name.rpartition(".")
    return dot + ending.lower() in PICTURE_ENDINGS
