"""Stopped and started again, with files added, labels changed, in any order: the blocks depend on the rows alone."""

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from pipelines.base.errors import UserError
from pipelines.blocks.layout import blocks_root
from pipelines.ingest import chunks
from pipelines.ingest.ingest import ingest, ingested
from tests.commands import environment
from tests.pipelines.ingest_case import (
    FOLDER,
    KINDS,
    REST,
    case_of,
    picture,
    pixels,
    read,
    write,
    write_what_every_case_needs,
)
from tests.processes import wait_until

PICTURES = 60


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    write_what_every_case_needs(root)
    for i in range(PICTURES):
        write(root / "pets" / KINDS[i % 2] / f"{i:03d}.png", picture(i))
    return root


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "_MOST_ROWS", 16)


def files_below(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(Path(folder).rglob("*")) if f.is_file()}


def blocks_in_order(case, name):
    made = ingested(case)
    return [Path(made.folders[name], block.file).read_bytes() for block in made.manifests[name].blocks]


def break_but_keep_the_stamp(file):
    """Change an image so that nothing but reading it can tell: same size, same time."""
    stat = file.stat()
    file.write_bytes(b"\0" * stat.st_size)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_second_ingest_writes_nothing(root, tmp_path, ray_local, small_chunks):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST)
    first = ingest(case)
    assert len(first.manifests["pets"].blocks) > 3
    folder = Path(first.folders["pets"])
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert ingest(case) == first
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == times


def test_of_files_that_are_added_only_those_are_read_and_the_blocks_are_a_fresh_ingests(
    root, tmp_path, ray_local, small_chunks
):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST)
    before = ingest(case).manifests["pets"]
    for file in (root / "pets").rglob("*.png"):
        break_but_keep_the_stamp(file)  # an input that is read again would fail
    for i in range(3):
        write(root / "pets" / "cat" / f"new-{i}.png", picture(500 + i))
    after = ingest(case).manifests["pets"]
    assert (before.rows, after.rows, after.quarantined) == (PICTURES, PICTURES + 3, 0)
    assert {block.file for block in before.blocks} & {block.file for block in after.blocks}

    for i in range(PICTURES):
        write(root / "pets" / KINDS[i % 2] / f"{i:03d}.png", picture(i))
    fresh = case_of(root, tmp_path, {"pets": FOLDER} | REST, f"storage.path={tmp_path / 'fresh'}")
    assert ingest(fresh).manifests["pets"].content_hash == after.content_hash
    assert blocks_in_order(fresh, "pets") == blocks_in_order(case, "pets")


def test_a_file_that_is_taken_away_is_in_no_block_and_a_changed_one_is_read_again(
    root, tmp_path, ray_local, small_chunks
):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST)
    ingest(case)
    (root / "pets" / "cat" / "002.png").unlink()
    write(root / "pets" / "cat" / "004.png", picture(999))
    assert ingest(case).manifests["pets"].rows == PICTURES - 1
    reader, batch = read(case, "pets")
    assert "cat/002.png" not in reader.ids
    assert (batch.inputs[reader.ids.index("cat/004.png")] == pixels(999).transpose(2, 0, 1)).all()


def test_a_changed_label_changes_the_block_and_reads_no_picture(root, tmp_path, ray_local, small_chunks):
    names = sorted(str(file.relative_to(root)) for file in (root / "pets").rglob("*.png"))
    table = {
        "source": {"kind": "csv", "path": "pets.csv"},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    write(root / "pets.csv", "file,kind\n" + "".join(f"{name},cat\n" for name in names))
    case = case_of(root, tmp_path, {"pets": table} | REST)
    ingest(case)
    for name in names:
        break_but_keep_the_stamp(root / name)
    write(
        root / "pets.csv",
        "file,kind\n" + "".join(f"{name},{'dog' if i == 7 else 'cat'}\n" for i, name in enumerate(names)),
    )
    manifest = ingest(case).manifests["pets"]
    assert manifest.labels["kind"].histogram == {"cat": PICTURES - 1, "dog": 1}
    assert read(case, "pets")[1].labels["kind"].tolist() == [1 if i == 7 else 0 for i in range(PICTURES)]


def test_the_order_of_rows_and_of_files_and_the_number_of_tasks_change_nothing(
    root, tmp_path, ray_local, small_chunks, monkeypatch
):
    names = sorted(str(file.relative_to(root)) for file in (root / "pets").rglob("*.png"))
    table = {
        "source": {"kind": "csv", "path": ["one.csv", "two.csv"]},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(names)
        monkeypatch.setattr("pipelines.ingest.tasks._CHUNKS_A_TASK", seed + 1)
        monkeypatch.setattr("pipelines.ingest.ingest.chunks_at_once", lambda most=3 if seed == 1 else 1024: most)
        for part in ("one", "two"):
            rows = [name for name in names if (int(name[-7:-4]) % 3 == 0) == (part == "one")]
            write(root / f"{part}.csv", "file,kind\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in rows))
        case = case_of(root, tmp_path, {"pets": table} | REST, f"storage.path={tmp_path / str(seed)}")
        found.append((ingest(case).manifests["pets"].content_hash, blocks_in_order(case, "pets")))
    assert found[0] == found[1] == found[2]


def test_a_row_that_names_another_file_gets_its_input_however_alike_the_files_look(root, tmp_path, ray_local):
    for name, value in (("x", 10), ("y", 200)):
        buffer = io.BytesIO()
        Image.new("RGB", (10, 12), (value,) * 3).save(buffer, "BMP")
        os.utime(write(root / f"{name}.bmp", buffer.getvalue()), ns=(10**18, 10**18))
    table = {
        "source": {"kind": "csv", "path": "pets.csv", "id_column": "name"},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    for name, value in (("x", 10), ("y", 200)):
        write(root / "pets.csv", f"name,file,kind\n1,{name}.bmp,cat\n")
        case = case_of(root, tmp_path, {"pets": table} | REST)
        ingest(case)
        assert (read(case, "pets")[1].inputs == value).all()


def test_a_block_that_is_gone_is_made_again(root, tmp_path, ray_local, small_chunks):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST)
    made = ingest(case)
    folder, manifest = made.folders["pets"], made.manifests["pets"]
    whole = files_below(folder)
    for ending in (".arrow", ".inputs.arrow", ".json"):
        Path(folder, manifest.blocks[1].file.replace(".arrow", ending)).unlink()
        ingest(case)
        assert files_below(folder) == whole


def test_another_size_or_vocabulary_is_told_and_read_in_full(root, tmp_path, ray_local, capsys):
    sets = {"pets": FOLDER} | REST
    ingest(case_of(root, tmp_path, sets))
    assert "ingested before" not in capsys.readouterr().err
    case = case_of(root, tmp_path, sets, "input.height=24")
    with pytest.raises(UserError, match="pets: not ingested with these settings"):
        ingested(case)
    ingest(case)
    words = capsys.readouterr().err
    assert "pets: ingested before with inputs of 12x10x3, now 24x10x3; every input is read again" in words
    assert read(case, "pets")[1].inputs.shape == (PICTURES, 3, 24, 10)
    ingest(
        case_of(
            root, tmp_path, sets, "input.height=24", "tasks.kind.classes=[cat, dog, cow]", "relatedness.0.table.cow=[]"
        )
    )
    assert "pets: ingested before with another vocabulary (kind)" in capsys.readouterr().err


def test_what_was_ingested_is_trained_on_whatever_has_become_of_the_source(root, tmp_path, ray_local):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST)
    made = ingest(case)
    for file in (root / "pets").rglob("*.png"):
        file.unlink()
    assert ingested(case) == made
    assert len(read(case, "pets")[0]) == PICTURES


@pytest.mark.starts_ray
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(root, tmp_path, ray_local, small_chunks):
    for i in range(PICTURES, 400):
        write(root / "pets" / KINDS[i % 2] / f"{i:03d}.png", picture(i))
    write(root / "pets" / "cat" / "broken.png", b"this is no picture")
    stores = {name: tmp_path / name for name in ("whole", "killed")}
    cases = {
        name: case_of(root, tmp_path, {"pets": FOLDER} | REST, f"storage.path={store}")
        for name, store in stores.items()
    }
    program = "import pipelines.ingest.chunks as c; c._MOST_ROWS = 16; from pipelines.cli import main; main()"

    command = [sys.executable, "-c", program, "ingest", str(tmp_path / "pets.yaml")]
    command += ["--set", f"storage.path={stores['killed']}"]

    ingest(cases["whole"])
    chunks_in_all = len([name for name in files_below(stores["whole"]) if name.endswith(".inputs.arrow")])
    assert chunks_in_all > 20

    rng = random.Random(20260101)
    for half, alone in enumerate((True, False)):
        moment = rng.randrange(chunks_in_all // 2) + half * chunks_in_all // 2
        ingesting = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)

        def as_far(ingesting=ingesting, moment=moment):
            return ingesting.poll() is not None or len(list(stores["killed"].rglob("*.inputs.arrow"))) > moment

        wait_until(as_far, "so many chunks", seconds=300)
        family = (
            [ingesting, *psutil.Process(ingesting.pid).children(recursive=True)] if ingesting.poll() is None else []
        )
        if alone:
            family = family[:1]  # its workers go on for a while
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        ingesting.wait()
    ingest(cases["killed"])
    whole_files, killed_files = (files_below(stores[name]) for name in ("whole", "killed"))
    records = [name for name in whole_files if Path(name).parent.name == "blocks"]
    assert len(records) == 1
    for files, store in ((whole_files, stores["whole"]), (killed_files, stores["killed"])):
        files[records[0]] = files[records[0]].replace(str(store).encode(), b"STORE")
    assert killed_files == whole_files


def test_a_task_that_dies_is_done_again_and_the_ingest_ends_with_the_same_bytes(
    root, tmp_path, ray_local, small_chunks
):
    """A worker's process is killed; a node that is lost takes its processes along."""
    np.savez(root / "many.npz", x=np.stack([pixels(i) for i in range(80)]), kind=np.array(KINDS * 40))
    gate = tmp_path / "gate"
    gate.mkdir()
    kind = "tests.standing_source:StandingArrays"
    source = {
        "source": {"kind": kind, "path": "many.npz", "gate": str(gate)},
        "labels": {"kind": {"from": "column", "column": "kind"}},
    }
    whole, killed = (
        case_of(root, tmp_path, {"many": source} | REST, f"storage.path={tmp_path / store}") for store in "ab"
    )
    expected = ingest(whole).manifests["many"]

    (gate / "closed").touch()
    for mark in gate.glob("reading-*"):
        mark.unlink()
    with ThreadPoolExecutor(1) as thread:
        ingesting = thread.submit(ingest, killed)
        (mark,) = wait_until(
            lambda: list(gate.glob("reading-*"))[:1], "a task reads", still=lambda: not ingesting.done()
        )
        os.kill(int(mark.name.partition("-")[2]), signal.SIGKILL)
        mark.unlink()
        (gate / "closed").unlink()
        found = ingesting.result(timeout=120).manifests["many"]
    assert found.rows == 80
    assert found.content_hash == expected.content_hash
    assert len(found.blocks) > 4


def test_blocks_lie_where_the_case_says(root, tmp_path, ray_local):
    case = case_of(root, tmp_path, {"pets": FOLDER} | REST, f"storage.blocks={tmp_path / 'elsewhere'}")
    ingest(case)
    assert blocks_root(case) == str(tmp_path / "elsewhere")
    assert len(read(case, "pets")[0]) == PICTURES
    assert not (tmp_path / "store").exists()
    assert np.array_equal(read(case, "pets")[1].inputs[0], pixels(0).transpose(2, 0, 1))
