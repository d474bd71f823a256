"""Images that look alike are found whatever encoded or resized them, and different ones are not taken for the same."""

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.ingest.ingest import ingest
from pipelines.ingest.near import look_alike, looks
from tests.pipelines.ingest_case import REST, case_of, write, write_what_every_case_needs


def scene(seed, size=(96, 80)):
    """Soft shapes and a few edges, as a photo has them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    coarse = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)).copy()
    top, left = rng.integers(0, 40, 2)
    pixels[top : top + 30, left : left + 20] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def as_file(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reread(image, kind, **options):
    return Image.open(io.BytesIO(as_file(image, kind, **options))).convert("RGB")


def at_size(image, size=32):
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


COPIES = {
    "jpeg": lambda image: reread(image, "JPEG", quality=40),
    "webp": lambda image: reread(image, "WEBP", quality=50),
    "smaller": lambda image: image.resize((48, 57), Image.Resampling.LANCZOS),
    "brighter": lambda image: image.point(lambda value: min(255, round(value * 0.9 + 12))),
    "next-frame": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 0)),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_look_alike(copy):
    images = [scene(seed) for seed in range(40)]
    mine = looks(np.stack([at_size(image) for image in images]))
    others = looks(np.stack([at_size(COPIES[copy](image)) for image in images]))
    found = [look_alike(mine[i : i + 1], others[i : i + 1])[0] for i in range(len(images))]
    assert np.mean(found) >= (0.8 if copy == "next-frame" else 0.95)


def test_different_images_do_not_look_alike():
    mine, others = (
        looks(np.stack([at_size(scene(seed)) for seed in seeds])) for seeds in (range(200), range(200, 400))
    )
    assert not look_alike(mine, others).any()


def test_plain_images_look_like_nothing():
    plain = looks(np.full((3, 3, 32, 32), 200, np.uint8))
    assert not look_alike(plain, plain).any()


def test_all_pairs_are_compared_whatever_is_looked_at_at_once(monkeypatch):
    mine = looks(np.stack([at_size(scene(seed)) for seed in range(30)]))
    others = mine[::-1].copy()
    monkeypatch.setattr("pipelines.ingest.near._PAIRS_AT_ONCE", 3)
    assert look_alike(mine, others).all()
    assert look_alike(mine, others[:10]).tolist() == [False] * 20 + [True] * 10


def test_what_looks_alike_is_counted_beside_what_is_the_same_and_taken_out_where_asked(tmp_path, ray_local, capsys):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    for seed in range(6):
        write(root / "pets" / "cat" / f"{seed}.png", as_file(scene(seed)))
    write(root / "for-test" / "cat" / "same.png", as_file(scene(0)))
    for seed in (1, 2):
        write(root / "for-test" / "dog" / f"{seed}.jpg", as_file(scene(seed), "JPEG", quality=60))
    pets = {"source": {"kind": "image_folder", "path": "pets"}, "labels": {"kind": {"from": "folder"}}}
    size = {"height": 32, "width": 32}
    case = case_of(root, tmp_path, REST | {"pets": pets}, ingest={}, input=size)
    manifest = ingest(case).manifests["pets"]
    assert (manifest.leakage, manifest.near, manifest.rows_used) == ({"test": 1}, {"test": 2}, 5)
    assert "ingest.leakage: near takes them out" in capsys.readouterr().err
    manifest = ingest(case_of(root, tmp_path, REST | {"pets": pets}, ingest={"leakage": "near"}, input=size)).manifests[
        "pets"
    ]
    assert (manifest.leakage, manifest.near, manifest.rows_used) == ({"test": 1}, {"test": 2}, 3)
