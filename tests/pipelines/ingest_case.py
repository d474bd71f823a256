"""What the tests of ingest share: images, a case of cats and dogs, and the rows in its blocks."""

import io

import numpy as np
import pyarrow.parquet as pq
import yaml
from PIL import Image

from pipelines.base.storage import join
from pipelines.blocks.cache import local_blocks
from pipelines.blocks.reader import BlockReader
from pipelines.case.build import tasks_of
from pipelines.case.load import load_case
from pipelines.ingest.ingest import ingested

KINDS = ("cat", "dog")
TRAITS = ("furry", "flies")

# A test split that has nothing to do with the training images: every case needs one.
TEST = {
    "source": {"kind": "image_folder", "path": "for-test"},
    "labels": {"kind": {"from": "folder"}, "traits": {"from": "folder", "through": "kind"}},
    "split": "test",
}
TRAITS_TO_LEARN = {
    "source": {"kind": "image_folder", "path": "for-traits"},
    "labels": {"traits": {"from": "folder", "through": "kind"}},
}
REST = {"test": TEST, "for_traits": TRAITS_TO_LEARN}  # what a case needs beside the dataset that a test is about
FOLDER = {"source": {"kind": "image_folder", "path": "pets"}, "labels": {"kind": {"from": "folder"}}}


def pixels(seed, size=(12, 10)):
    """An image as an array, (height, width, 3)."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (*size, 3), dtype=np.uint8)


def picture(seed, size=(12, 10)):
    """The same image as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed, size)).save(buffer, "PNG")
    return buffer.getvalue()


def write(file, content):
    """Write a file and the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content) if isinstance(content, bytes) else file.write_text(content)
    return file


def write_what_every_case_needs(root):
    """Write the images of TEST and TRAITS_TO_LEARN."""
    for i in range(2):
        write(root / "for-test" / KINDS[i] / f"{i}.png", picture(1000 + i))
        write(root / "for-traits" / KINDS[i] / f"{i}.png", picture(2000 + i))


def case_of(root, tmp_path, datasets, *overrides, **sections):
    """Load a case of cats and dogs with these datasets, at ``root``."""
    given = {
        "name": "pets",
        "data_root": str(root),
        "input": {"height": 12, "width": 10},
        "tasks": {
            "kind": {"kind": "multiclass", "classes": list(KINDS)},
            "traits": {"kind": "multilabel", "labels": list(TRAITS)},
        },
        "relatedness": [{"from": "kind", "to": "traits", "table": {"cat": ["furry"], "dog": ["furry"]}}],
        "network": {"backbone": "mlp", "widths": [8]},
        "training": {"steps": 1, "batch_size": 16},
        "datasets": datasets,
        "storage": {"path": str(tmp_path / "store")},
        "ingest": {"leakage": "keep"},
    } | sections
    file = tmp_path / "pets.yaml"
    file.write_text(yaml.safe_dump(given))
    return load_case(str(file), overrides)


def read(case, name):
    """Open a dataset's blocks; return the reader and all of its rows."""
    data_sets = ingested(case)
    manifest = data_sets.manifests[name]
    reader = BlockReader(
        local_blocks(data_sets.folders[name], manifest), list(tasks_of(case).values()), manifest.excluded
    )
    return reader, reader.gather(np.arange(len(reader)))


def quarantine(case, name):
    """Return the rows of a dataset's quarantine."""
    return pq.read_table(join(ingested(case).folders[name], "quarantine.parquet")).to_pylist()
