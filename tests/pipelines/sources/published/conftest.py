"""Miniatures of published sets: a test says which files there are, and reads them from a folder and from a zip."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from pipelines.sources.registry import SOURCES
from pipelines.sources.tree import Tree


def _picture():
    file = io.BytesIO()
    Image.new("RGB", (2, 2)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(params=["folder", "zip"])
def read(request, tmp_path):
    """``read(kind, files, **settings)``: the table; ``files`` are texts or bytes by name, None for an image."""

    def read(kind, files, **settings):
        contents = {name: _picture() if content is None else content for name, content in files.items()}
        contents = {name: text.encode() if isinstance(text, str) else text for name, text in contents.items()}
        fresh = Path(tempfile.mkdtemp(dir=tmp_path))
        if request.param == "zip":
            place = fresh / f"{kind}.zip"
            with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in contents.items():
                    archive.writestr(name, content)
        else:
            place = fresh / kind
            for name, content in contents.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
        table = SOURCES[kind](kind=kind, path=str(place), **settings).read_table(Tree(str(place)))
        assert table.schema.names[0] == "picture"
        return table

    return read
