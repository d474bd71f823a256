"""What a damaged checkpoint says of itself is never believed: the one before counts."""

import pytest
import torch

from pipelines.base.errors import UserError
from pipelines.blocks.datasets import DataSets
from pipelines.experiment.provenance import provenance
from pipelines.experiment.run import Run
from pipelines.train.checkpoints.compatibility import check_resumable
from pipelines.train.checkpoints.file import About, Checkpoint, NotACheckpointError
from pipelines.train.checkpoints.store import CHECKPOINTS, read_about, write_checkpoint

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
