"""What a damaged checkpoint says of itself is never believed: the one before counts."""

import pytest
import torch
import xxhash

from pipelines.base.errors import UserError
from pipelines.blocks.datasets import DataSets
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run
from pipelines.train.checkpoints.compatibility import check_resumable
from pipelines.train.checkpoints.file import About, Checkpoint, NotACheckpointError
from pipelines.train.checkpoints.store import (
    CHECKPOINTS,
    newest_checkpoint,
    read_about,
    read_checkpoint,
    write_checkpoint,
)

RUN = Run("naive", "shared", ("digit",), 0)
NOTHING = DataSets({}, {})


def written(experiment, step, **changed):
    about = About(
        run=str(RUN),
        step=step,
        provenance=provenance(NOTHING) | changed,
        versions={},
        seconds=0,
        waited_for_data_s=0,
        columns=(),
    )
    folder = f"{RUN.folder(str(experiment))}/{CHECKPOINTS}"
    name = write_checkpoint(folder, Checkpoint(about=about, tensors={"network.w": torch.zeros(2)}), keep=9)
    return experiment / "runs" / RUN.arm / RUN.network / f"seed-{RUN.seed}" / CHECKPOINTS / name


def test_every_flipped_bit_of_the_newest_is_told_and_the_one_before_counts(tmp_path, capsys):
    written(tmp_path, 1)
    newest = written(tmp_path, 2)
    whole = newest.read_bytes()
    for i in range(0, 8 * len(whole), 7):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        newest.write_bytes(damaged)
        with pytest.raises(NotACheckpointError):
            read_about(str(newest.parent), newest.name)
        check_resumable([RUN], str(tmp_path), NOTHING, allow_version_mismatch=False)
        assert f"{newest.name}: its bytes are not those that were written" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 4, 8, 100])
def test_one_that_is_cut_is_passed_over(size, tmp_path, capsys):
    written(tmp_path, 1, training_version=-1)
    newest = written(tmp_path, 2)
    newest.write_bytes(newest.read_bytes()[:size])
    with pytest.raises(UserError, match="stands at step 1; since then Kindred's training version has changed"):
        check_resumable([RUN], str(tmp_path), NOTHING, allow_version_mismatch=False)
    assert newest.name in capsys.readouterr().err


def test_with_any_bit_flipped_the_newest_is_passed_over_for_the_one_before_where_a_run_is_resumed(tmp_path):
    """Its header and its tensors, every bit; and its name, whose step or hash is another then."""
    before, newest = written(tmp_path, 1), written(tmp_path, 2)
    whole, folder, told = newest.read_bytes(), str(newest.parent), []
    for i in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[i // 8] ^= 1 << i % 8
        newest.write_bytes(damaged)
        assert newest_checkpoint(folder, lambda _: True, told.append) == before.name
    assert len(told) == 8 * len(whole)
    newest.write_bytes(whole)
    newest.rename(newest.with_name(newest.name.replace("000000002", "000000003")))  # the step is no part of the hash
    assert read_checkpoint(folder, newest_checkpoint(folder, lambda _: True, told.append)).about.step == 2


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"__metadata__": {"kindred": "[1]"}}',
        b'{"__metadata__": {"kindred": "{\\"format\\": 1}"}}',
        b'{"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}',
    ],
    ids=range(4),
)
def test_one_that_bears_its_hash_and_is_none_is_passed_over_too(content, tmp_path):
    before, told = written(tmp_path, 1), []
    file = len(content).to_bytes(8, "little") + content
    name = f"step-000000002-{xxhash.xxh3_128_hexdigest(file)}.safetensors"
    (before.parent / name).write_bytes(file)
    assert newest_checkpoint(str(before.parent), lambda _: True, told.append) == before.name
    assert len(told) == 1
    assert name in told[0]
