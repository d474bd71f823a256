"""Sources and blocks in object storage: a real S3 endpoint on loopback, and one that fails every tenth request."""

import io
import json
import math
import socket
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import UserError
from pipelines.base.storage import (
    StorageUnavailableError,
    join,
    list_below,
    list_folder,
    open_ranges,
    read_bytes,
    write_whole,
)
from pipelines.blocks.cache import DamagedBlockError, local_blocks
from pipelines.blocks.manifest import Manifest, read_manifest
from pipelines.case.load import load_case
from pipelines.ingest.ingest import ingest
from tests.commands import kindred, kindred_here
from tests.object_storage import (
    SECRET,
    ask_for_credentials,
    environment_for,
    gcs_server,
    gcs_url_at,
    make_bucket,
    proxy,
    put,
    remove,
    s3_server,
    upload,
    url_at,
)
from tests.pipelines.ingest_case import KINDS, case_of, picture, pixels, read, write
from tests.pipelines.one_worker import run_here

PICTURES = 30  # of each source
FROM_FOLDER = {"kind": {"from": "folder"}, "traits": {"from": "folder", "through": "kind"}}
FROM_COLUMN = {"kind": {"from": "column", "column": "kind"}}
DATASETS = {
    "folder": {"source": {"kind": "image_folder", "path": "pets"}, "labels": FROM_FOLDER},
    "table": {
        "source": {"kind": "csv", "path": "tables/traits.csv"},
        "labels": FROM_COLUMN | {"traits": {"from": "columns"}},
    },
    "zipped": {"source": {"kind": "image_folder", "path": "pets.zip"}, "labels": FROM_FOLDER},
    "in_tars": {
        "source": {"kind": "image_folder", "path": ["more/pets.tar", "more/pets.tar.gz"]},
        "labels": FROM_FOLDER,
    },
    "parquet": {"source": {"kind": "parquet", "path": "parts/*.parquet"}, "labels": FROM_COLUMN},
    "arrays": {"source": {"kind": "numpy", "path": "arrays.npz"}, "labels": FROM_COLUMN},
    "test": {"source": {"kind": "image_folder", "path": "for-test"}, "labels": FROM_FOLDER, "split": "test"},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a source of every kind."""
    root = tmp_path_factory.mktemp("data")
    seeds = iter(range(10_000))

    def pets():
        for i in range(PICTURES):
            yield f"{KINDS[i % 2]}/{i:02}.png", picture(next(seeds))

    for name, content in pets():
        write(root / "pets" / name, content)
        write(root / "for-test" / name, picture(next(seeds)))
    rows = ["file,kind,furry,flies"]
    for name, content in pets():
        write(root / "tables" / "pictures" / name, content)
        rows.append(f"pictures/{name},{name[:3]},1,")
    write(root / "tables" / "traits.csv", "\n".join(rows))
    with zipfile.ZipFile(root / "pets.zip", "w") as archive:
        for name, content in pets():
            archive.writestr(name, content)
    (root / "more").mkdir()
    for file, mode in (("pets.tar", "w"), ("pets.tar.gz", "w:gz")):
        for name, content in pets():
            write(root.parent / "packed" / file / name, content)
        with tarfile.open(root / "more" / file, mode) as archive:
            archive.add(root.parent / "packed" / file, ".")
    (root / "parts").mkdir()
    for part in range(2):
        columns = {"image": [picture(next(seeds)) for _ in range(PICTURES)], "kind": [*KINDS] * (PICTURES // 2)}
        pq.write_table(pa.table(columns), root / "parts" / f"{part}.parquet", row_group_size=8)
    np.savez(
        root / "arrays.npz", x=np.stack([pixels(next(seeds)) for _ in range(4)]), kind=["cat", "dog", "dog", "cat"]
    )
    return root


@pytest.fixture(scope="module")
def s3(data):
    """The port of an S3 endpoint with the same files below s3://pets/data."""
    with s3_server() as port:
        make_bucket(port, "pets")
        upload(port, data, "pets/data")
        yield port


@pytest.fixture(scope="module")
def case_file(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    case_of(data, folder, DATASETS, evaluation={"replicates": 5}, training={"steps": 3, "batch_size": 14})
    return str(folder / "pets.yaml")


def settings(store, port, blocks="pets/blocks"):
    """Return what puts the data and the blocks into the bucket at a port."""
    return [
        f"storage.path={store}",
        f"data_root={url_at(port, 'pets/data', anonymous=False)}",
        f"storage.blocks={url_at(port, blocks, anonymous=False)}",
    ]


def ingest_here(case_file, *where):
    """Run `kindred ingest` on the Ray that the tests share."""
    done = kindred_here("ingest", case_file, "--json", *(f"--set={setting}" for setting in settings(*where)))
    assert SECRET not in done.stdout + done.stderr
    return done


def hashes(blocks):
    """Return the content hash and the rows in quarantine by dataset, of what lies in a folder of blocks."""
    manifests = [
        Manifest.model_validate_json(read_bytes(join(blocks, found.name)))
        for found in list_below(blocks)
        if found.name.endswith("/manifest.json")
    ]
    return {manifest.data_set: (manifest.content_hash, manifest.quarantined) for manifest in manifests}


@pytest.fixture(scope="module")
def on_disk(case_file, tmp_path_factory, ray_local):
    """The results of a run on local disk, and what its blocks hold."""
    store = tmp_path_factory.mktemp("on-disk")
    outcome = run_here(load_case(case_file, [f"storage.path={store}"]))
    found = hashes(str(store / "blocks"))
    assert set(found) == set(DATASETS)
    return outcome.as_dict()["results"], found


@pytest.fixture(scope="module")
def in_bucket(case_file, s3, tmp_path_factory):
    """What `kindred run` told with data, blocks and runs in a bucket, and its requests: a user's, with credentials."""
    store = tmp_path_factory.mktemp("in-bucket")
    sets = ["data_root=s3://pets/data", "storage.path=s3://pets/runs"]
    with proxy(s3) as passing:
        variables = environment_for(passing.port, KINDRED_BLOCK_CACHE=str(store / "cache"))
        done = kindred("run", case_file, "--json", *(f"--set={setting}" for setting in sets), more=variables)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    return json.loads(done.stdout), passing.requests


@pytest.mark.starts_ray
def test_data_blocks_and_runs_in_a_bucket_give_the_same_blocks_and_numbers_as_on_disk(on_disk, in_bucket, s3):
    told, _ = in_bucket
    assert hashes(url_at(s3, "pets/runs/blocks")) == on_disk[1]
    for part in ("arms", "confusion", "data_sets"):
        assert told["results"][part] == on_disk[0][part]
    below = url_at(s3, f"pets/runs/{told['results']['experiment']}")
    names = {found.name for found in list_below(below)}
    assert {"case.yaml", "data_sets.json", "results.json", "report.html"} <= names
    assert read_bytes(join(below, "report.html")).startswith(b"<!doctype html>")


@pytest.mark.starts_ray
def test_resume_needs_nothing_but_the_bucket(on_disk, in_bucket, s3, tmp_path, monkeypatch):
    experiment = url_at(s3, f"pets/runs/{in_bucket[0]['results']['experiment']}", anonymous=False)
    record = next(name for name in sorted(found.name for found in list_below(experiment)) if name.endswith("run.json"))
    before = json.loads(read_bytes(join(experiment, record)))
    remove(s3, f"pets/runs/{in_bucket[0]['results']['experiment']}/{record}")
    monkeypatch.chdir(tmp_path)
    done = kindred_here("resume", experiment, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"]["arms"] == on_disk[0]["arms"]
    again = json.loads(read_bytes(join(experiment, record)))
    assert again["provenance"] == before["provenance"]
    assert list(tmp_path.rglob("*")) == []


def test_with_every_tenth_request_failing_the_blocks_are_the_same_and_made_once(case_file, on_disk, s3, tmp_path):
    with proxy(s3, fail_every=10) as passing:
        done = ingest_here(case_file, tmp_path, passing.port, "pets/blocks-of-trouble")
        assert done.returncode == 0, done.stderr
        passing.count()
        first = passing.requests
        done = ingest_here(case_file, tmp_path, passing.port, "pets/blocks-of-trouble")
        assert done.returncode == 0, done.stderr
    assert len(passing.failed) == 4
    assert passing.failed.total() >= 15
    assert hashes(url_at(s3, "pets/blocks-of-trouble")) == on_disk[1]
    assert not any(quarantined for _, quarantined in on_disk[1].values())
    second = passing.requests - first
    assert not [path for _, path in second if path.endswith((".png", ".arrow"))]
    assert {method for method, _ in second} == {"HEAD", "GET"}


@pytest.mark.starts_ray
def test_a_picture_costs_two_requests_and_neighbours_in_an_archive_share_one(in_bucket):
    _, requests = in_bucket
    pictures = [n for (_, path), n in requests.items() if path.startswith("/pets/data/pets/")]
    assert len(pictures) == 2 * PICTURES  # HEAD and GET
    assert set(pictures) == {1}
    for archive in ("pets.zip", "more/pets.tar"):
        assert sum(n for (_, path), n in requests.items() if path == f"/pets/data/{archive}") < PICTURES - 5


def test_storage_that_begins_to_refuse_ends_the_ingest_with_one_message_and_quarantines_nothing(
    case_file, s3, tmp_path, ray_local
):
    ask_for_credentials(s3, after=150)
    try:
        done = ingest_here(case_file, tmp_path, s3, "pets/refused")
    finally:
        ask_for_credentials(s3, after=math.inf)
    assert done.returncode == 1
    assert done.stderr.count("failed: StorageUnavailableError: s3://pets/") == 1
    assert "ACCESS_DENIED" in done.stderr or "INVALID_ACCESS_KEY_ID" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [found.name for found in list_below(url_at(s3, "pets/refused")) if "quarantine" in found.name]


def test_refused_credentials_are_one_message_before_anything_starts(case_file, s3, tmp_path, ray_local):
    ask_for_credentials(s3, after=0)
    try:
        done = ingest_here(case_file, tmp_path, s3)
    finally:
        ask_for_credentials(s3, after=math.inf)
    assert done.returncode == 1
    assert done.stderr.startswith("failed: StorageUnavailableError: s3://pets/blocks")
    assert "ACCESS_DENIED" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_endpoint_that_is_gone_is_one_message(case_file, tmp_path, ray_local):
    with socket.socket() as taken:  # bound, and nobody listens: no other process gets it
        taken.bind(("127.0.0.1", 0))
        done = ingest_here(case_file, tmp_path, taken.getsockname()[1])
    assert done.returncode == 1
    assert done.stderr.count("failed: StorageUnavailableError: s3://pets/blocks") == 1
    assert "Could not connect" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data_root": "s3://pest/data"}, "data_root: found 's3://pest/data', and there is no bucket 'pest'"),
        (
            {"storage.blocks": "s3://pest/blocks"},
            "storage.blocks: found 's3://pest/blocks', and there is no bucket 'pest'",
        ),
        (
            {"datasets.folder.source.path": "s3://pest/cats"},
            "datasets.folder.source.path: found 's3://pest/cats', nothing lies at s3://pest/cats",
        ),
        ({"storage.path": "s3://pest/store"}, "storage.path: found 's3://pest/store', and there is no bucket 'pest'"),
        ({"data_root": "ftp://pets/data"}, "found the scheme 'ftp'; expected a local path, s3://, gs:// or abfs://"),
        ({"data_root": "s3:///data"}, "found no bucket; expected s3://BUCKET/PATH"),
        ({"data_root": "s3://pets/data?anonymos=true"}, "unknown option; did you mean 'anonymous'?"),
        ({"data_root": "s3://pets/data?anonymous=maybe"}, "found 'maybe'; expected true or false"),
        ({"data_root": f"s3://key:{SECRET}@pets/data"}, "credentials do not belong in a URL, which is written down"),
        ({"data_root": f"s3://pets/data?secret_key={SECRET}"}, "secrets do not belong in a URL, which is written down"),
    ],
)
def test_a_wrong_place_is_told_by_its_key(data, s3, tmp_path, monkeypatch, settings, words):
    for name, value in environment_for(s3).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        case_of(data, tmp_path, DATASETS, *(f"{key}={value}" for key, value in settings.items()))
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.starts_ray
def test_a_block_that_was_altered_or_is_gone_is_refused(s3, in_bucket, tmp_path, monkeypatch):
    monkeypatch.setenv("KINDRED_BLOCK_CACHE", str(tmp_path / "cache"))
    root = url_at(s3, "pets/runs/blocks")
    folder = next(join(root, name) for name in list_folder(root) if name.startswith("test-"))
    manifest = read_manifest(folder)
    file = manifest.blocks[0].file
    path = join(folder, file).removeprefix("s3://").partition("?")[0]
    block = read_bytes(join(folder, file))
    put(s3, path, block[:-1] + bytes([block[-1] ^ 1]))
    with pytest.raises(DamagedBlockError, match=f"{file}.* not the block that was written there"):
        local_blocks(folder, manifest)
    assert not list((tmp_path / "cache").glob("*.arrow"))
    remove(s3, path)
    with pytest.raises(StorageUnavailableError, match="the block is gone"):
        local_blocks(folder, manifest)
    put(s3, path, block)
    (found,) = local_blocks(folder, manifest).files
    assert found.read_bytes() == block
    remove(s3, path)
    assert local_blocks(folder, manifest).files == (found,), "this machine has it"
    put(s3, path, block)


def test_sources_in_several_buckets_and_objects_with_odd_names(s3, tmp_path, ray_local):
    odd = "what? 100%20 #1+ü.png"
    for bucket in ("first", "second"):
        make_bucket(s3, bucket)
        for i, kind in enumerate(KINDS):
            put(s3, f"{bucket}/pets/{kind}/{odd}", picture(5000 + 10 * len(bucket) + i))
            put(s3, f"{bucket}/pets/{kind}/.hidden.png", b"no picture")
    samples = io.BytesIO()
    with tarfile.open(fileobj=samples, mode="w") as archive:
        for i in range(4):
            for ending, content in (("png", picture(6000 + i)), ("cls", KINDS[i % 2].encode())):
                member = tarfile.TarInfo(f"{i}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    put(s3, "second/shards/0.tar", samples.getvalue())
    places = [url_at(s3, "first/pets"), url_at(s3, "second/p*")]
    shards = {"kind": "webdataset", "path": url_at(s3, "second/shards")}
    case = case_of(
        tmp_path,
        tmp_path,
        {
            "train": {"source": {"kind": "image_folder", "path": places}, "labels": FROM_FOLDER},
            "shards": {"source": shards, "labels": {"kind": {"from": "column", "column": "cls"}}},
            "test": {"source": {"kind": "image_folder", "path": places[0]}, "labels": FROM_FOLDER, "split": "test"},
        },
    )
    made = ingest(case).manifests
    assert (made["train"].rows, made["train"].quarantined) == (4, 0)
    assert read(case, "shards")[1].labels["kind"].tolist() == [0, 1, 0, 1]
    assert sorted(made["train"].sources) == ["s3://first/pets", "s3://second/pets"]
    assert read(case, "test")[0].ids == [f"cat/{odd}", f"dog/{odd}"]


def test_google_cloud_storage_gives_the_same_blocks_with_every_tenth_request_failing(data, tmp_path, ray_local):
    some = {name: DATASETS[name] for name in ("folder", "zipped", "in_tars", "parquet", "test")}
    on_disk = {name: of.content_hash for name, of in ingest(case_of(data, tmp_path, some)).manifests.items()}
    with gcs_server() as port:
        for file in sorted(data.rglob("*")):
            if file.is_file():
                write_whole(gcs_url_at(port, f"pets/data/{file.relative_to(data)}"), file.read_bytes())
        # Blocks go past the proxy: the emulator tells a client that asks how far a failed upload came a wrong place.
        blocks = f"storage.blocks={gcs_url_at(port, 'pets/blocks')}"
        with proxy(port, fail_every=10) as passing:
            case = case_of(gcs_url_at(passing.port, "pets/data"), tmp_path, some, blocks)
            made = ingest(case)
            passing.count()
            first = passing.requests
            ingest(case)
    assert {name: of.content_hash for name, of in made.manifests.items()} == on_disk
    assert passing.failed.total() >= 10
    assert not any(manifest.quarantined for manifest in made.manifests.values())
    assert first.total() > 2 * PICTURES
    assert not [path for _, path in passing.requests - first if path.endswith(".png")]


def test_a_file_shorter_than_the_text_of_a_failure_is_read_all_the_same(s3):
    put(s3, "pets/short", b"short")
    with proxy(s3, fail_every=3) as passing:
        url = url_at(passing.port, "pets/short")
        assert {read_bytes(url) for _ in range(12)} == {b"short"}
        with open_ranges(url) as file:
            assert {file.read_at(2, 1) for _ in range(12)} == {b"ho"}
    assert passing.failed["503"] > 2
