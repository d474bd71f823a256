"""What is seen of a run while it trains: each step once, in every place, whatever was killed in between."""

import io
import json
import re
import struct
from functools import partial

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pipelines.base.progress import Bar
from pipelines.base.storage import is_remote, read_bytes
from pipelines.experiment.run import HISTORY, VALIDATIONS, WEIGHTS, read_record
from pipelines.train.checkpoints.file import Event
from pipelines.train.logs.jsonl_log import LOG, LogLine, RunLog
from pipelines.train.logs.progress_line import progress_of
from pipelines.train.logs.step_metrics import StepMetrics
from pipelines.train.logs.tensorboard_log import TENSORBOARD, tag_of
from pipelines.train.lr_schedule import learning_rate
from tests.object_storage import environment_for, make_bucket, s3_server
from tests.pipelines.one_worker import train_here

STEPS = 25
SETTINGS = [
    f"training.steps={STEPS}", "training.seeds=[3]", "training.batch_size=8", "evaluation.baseline=naive",
    "arms={naive: {}}", "logging.every=5", "training.validation={every_steps: 3, rows: 50}", "training.best=digit",
    "training.checkpoints={every_steps: 4, keep: 2}", "training.optimizer.lr=0.02",
]  # fmt: skip
TOLD = [3, 5, 6, 9, 10, 12, 15, 18, 20, 21, 24, 25]


class Killed(Exception):
    """Stands for the end of a process: nothing of the run's own code catches it."""


def killed_at(step):
    def told(metrics):
        if metrics.step == step:
            raise Killed

    return told


@pytest.fixture
def case_of(digits_case):
    return partial(digits_case, *SETTINGS)


def lines_of(folder):
    return [LogLine.model_validate_json(line) for line in (folder / LOG).read_text().splitlines()]


def numbers(folder):
    """Return what the log tells, without what depends on the clock, and without events."""
    kept = {"step", "loss", "parts", "lr", "validation", "score"}
    return [line.model_dump(include=kept) for line in lines_of(folder) if line.event is None]


@pytest.mark.parametrize("stopping", [[], ["training.early_stopping={patience: 2, min_delta: 0.1}"]])
def test_a_run_killed_anywhere_ends_with_the_same_best_the_same_stop_and_each_step_once_in_its_log(
    case_of, tmp_path, stopping
):
    case = case_of(*stopping)
    (undisturbed,) = train_here(case, experiment=tmp_path / "undisturbed").values()
    record = read_record(str(undisturbed))
    assert (record["steps"] < STEPS) == bool(stopping)
    for step in (s for s in (3, 6, 10, 15, 25) if s <= record["steps"]):
        experiment = tmp_path / f"killed-at-{step}"
        with pytest.raises(Killed):
            train_here(case, killed_at(step), experiment)
        (folder,) = train_here(case, experiment=experiment).values()
        for file in (WEIGHTS, HISTORY, VALIDATIONS):
            assert (folder / file).read_bytes() == (undisturbed / file).read_bytes(), (step, file)
        assert {key: read_record(str(folder))[key] for key in ("steps", "best")} == {
            key: record[key] for key in ("steps", "best")
        }
        assert numbers(folder) == numbers(undisturbed)
        events = [(line.step, line.event) for line in lines_of(folder) if line.event and "resumed" in line.event]
        assert events == ([(4 * (step // 4), "resumed with 1 worker")] if step > 4 else [])


def test_the_log_has_the_runs_numbers(case_of, tmp_path):
    case = case_of()
    (folder,) = train_here(case, experiment=tmp_path).values()
    lines, history = lines_of(folder), pq.read_table(folder / HISTORY).to_pandas()
    validations = pq.read_table(folder / VALIDATIONS).to_pandas().set_index("step")
    assert [line.step for line in lines] == TOLD
    for line in lines:
        assert line.loss == pytest.approx(history["loss"][line.step - 1])
        assert line.parts == pytest.approx(history.drop(columns="loss").iloc[line.step - 1].to_dict())
        assert line.lr == learning_rate(case.training, line.step - 1)
        assert line.rows_per_s > 0
        assert 0 <= line.data_wait <= 1
        assert (line.validation is not None) == (line.step % 3 == 0 or line.step == STEPS)
        if line.validation:
            assert line.score == line.validation["digit"]["accuracy"] == validations["digit.accuracy"][line.step]
            assert line.validation["traits"]["macro_f1"] == validations["traits.macro_f1"][line.step]


def test_tensorboard_and_wandb_go_on_where_the_run_does(case_of, tmp_path):
    case = case_of("logging.tensorboard=true", "logging.wandb.mode=offline")
    with pytest.raises(Killed):
        train_here(case, killed_at(15), tmp_path)
    (folder,) = train_here(case, experiment=tmp_path).values()
    shown = scalars(folder / TENSORBOARD)
    history = pq.read_table(folder / HISTORY)["loss"].to_numpy()
    assert list(shown["loss/loss"]) == TOLD, "each step once, though 13 to 15 were done twice"
    np.testing.assert_allclose(list(shown["loss/loss"].values()), [history[step - 1] for step in TOLD], rtol=1e-6)
    assert list(shown["validation/digit.accuracy"]) == [s for s in TOLD if s % 3 == 0 or s == STEPS]
    assert {"training/lr", "training/rows_per_s", "training/data_wait", "loss/dm_digit_to_traits"} <= set(shown)
    assert all(re.fullmatch(r"[\w./-]+", tag) for tag in shown), "TensorBoard would rename others"

    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert len({run.name.rpartition("-")[2] for run in runs}) == 1, "one run, which `wandb sync` puts together"


def test_a_run_trained_again_from_the_beginning_leaves_nothing_of_the_last_time(case_of, tmp_path):
    case = case_of("logging.tensorboard=true", "training.checkpoints={every_s: 1000}")
    with pytest.raises(Killed):
        train_here(case, killed_at(15), tmp_path)
    (folder,) = train_here(case, experiment=tmp_path).values()
    assert [line.step for line in lines_of(folder)] == TOLD
    assert list(scalars(folder / TENSORBOARD)["loss/loss"]) == TOLD


def scalars(folder):
    """Read event files as TensorBoard does: after a restart at step s, what was there from s on is gone."""
    from tensorboardX.proto.event_pb2 import Event as Written
    from tensorboardX.proto.event_pb2 import SessionLog

    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir()):
        data = io.BytesIO(file.read_bytes())
        while head := data.read(12):
            event = Written.FromString(data.read(struct.unpack("<Q", head[:8])[0]))
            data.read(4)
            if event.session_log.status == SessionLog.START:
                found = {tag: {s: v for s, v in of.items() if s < event.step} for tag, of in found.items()}
            for value in event.summary.value:
                assert event.step not in found.setdefault(value.tag, {}), "a step that is there already"
                found[value.tag][event.step] = value.simple_value
    return found


def seen(run="naive/seed-0", step=10, **more):
    given = {"steps": 300, "loss": 1.25, "parts": {}, "lr": 0.1, "rows_per_s": 900.0, "data_wait": 0.02} | more
    return StepMetrics(run=run, step=step, **given)


def test_a_log_in_object_storage_is_whole_with_every_checkpoint_and_at_the_end(tmp_path, monkeypatch):
    with s3_server() as port:
        for name, value in environment_for(port).items():
            monkeypatch.setenv(name, value)
        make_bucket(port, "runs")
        assert is_remote("s3://runs/a")
        lines = ['{"step":5,"time":"now","loss":2.0}']
        with RunLog("s3://runs/a", lines) as log:
            log.tell(seen())
            log.keep()
            log.tell(seen(step=20))
            log.note([Event(step=20, what="stopped early")])
        written = read_bytes(f"s3://runs/a/{LOG}").decode().splitlines()
    assert written == lines
    assert [json.loads(line)["step"] for line in written] == [5, 10, 20, 20]


def test_a_log_on_a_disk_that_fails_stops_no_run_and_is_whole_when_it_works_again(tmp_path):
    lines: list[str] = []
    with RunLog(str(tmp_path), lines) as log:
        log.tell(seen())
        (tmp_path / LOG).unlink()
        (tmp_path / LOG).mkdir()
        log.tell(seen(step=20))
        log.tell(seen(step=30))
        (tmp_path / LOG).rmdir()
        log.tell(seen(step=40))
        assert [json.loads(line)["step"] for line in (tmp_path / LOG).read_text().splitlines()] == [10, 20, 30, 40]


def test_the_progress_line_adds_up_what_runs_at_once_and_counts_left_out_steps_as_done():
    assert progress_of({}) == (0, "starting workers")
    ended = seen("naive/seed-0", step=120, ended=True)
    parts = {"digit": 0.5, "traits": 0.25, "dm:digit->traits": 0.25, "dm:digit->more": 0.5}
    running = [
        seen("naive/seed-1", step=40, rows_per_s=9_000.0, data_wait=0.01),
        seen("co-trained/seed-0", step=50, rows_per_s=8_000.0, data_wait=0.03, parts=parts),
    ]
    done, note = progress_of({metrics.run: metrics for metrics in [ended, *running]})
    assert done == 300 + 40 + 50
    assert note == "17.0k rows/s, data wait 2 % · loss 1.25 (digit 0.5, traits 0.25, dm 0.75) · co-trained/seed-0"
    assert progress_of({"naive/seed-0": seen(workers=4)})[1].startswith("4 workers, 900 rows/s, data wait 2 % · ")


@pytest.mark.parametrize("width", [60, 100, 160])
def test_progress_is_one_line_however_long_it_would_be(width):
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False)
    shown = Bar("train", 4500, "steps", console=screen)
    shown.show(1234, "12,345 rows/s, data wait 2 % · co-trained/seed-0 loss 1.250 (" + "digit 0.50, " * 20 + ")")
    rendered = Console(file=io.StringIO(), width=width)
    rendered.print(shown.line())
    shown.close()
    text = rendered.file.getvalue().rstrip("\n")
    assert "\n" not in text
    assert len(text) <= width
    assert "1234/4500" in text
    if width >= 100:
        assert "12,345 rows/s" in text
        assert "left" in text or "-:--:--" in text


def test_tags_are_those_that_tensorboard_takes():
    assert tag_of("dm:digit->traits") == "loss/dm_digit_to_traits"
    assert tag_of("validation/digit.accuracy") == "validation/digit.accuracy"
    assert tag_of("lr") == "training/lr"


def test_nothing_is_drawn_where_nobody_looks(capsys):
    shown = Bar("train", 10, "steps")
    shown.show(5, "words")
    shown.close()
    assert capsys.readouterr() == ("", "")
