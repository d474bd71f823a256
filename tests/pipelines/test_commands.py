"""Exit codes, messages, interruption: what somebody at a terminal meets."""

import json
import re
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines import commands as steps
from pipelines.base.errors import UserError
from pipelines.case.load import load_case
from pipelines.cli import main
from pipelines.experiment.layout import experiment_folder
from tests.commands import environment, kindred_here
from tests.pipelines.one_worker import run_here
from tests.processes import wait_until

SMALL = ["training.steps=20", "training.seeds=[0]", "evaluation.replicates=20"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument"),
        (["rnu", "digits"], "No such command"),
        (["run", "digts"], "error: digts: no such case file; did you mean 'digits'?"),
        (["run", "digits", "--set", "training.stepz=1"], "training: unknown key 'stepz'; did you mean 'steps'?"),
        (
            ["report", "digits", "--set", "training.steps=7"],
            "`kindred evaluate` with the same case and --set comes first",
        ),
    ],
)
def test_a_wrong_call_or_case_is_one_message_and_exit_code_2(arguments, words, tmp_path):
    done = kindred_here(*arguments, *(["--set", f"storage.path={tmp_path}"] if arguments[0] == "report" else []))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failed_run_says_why_without_a_traceback_and_exits_with_1(ray_local, tmp_path):
    settings = [*SMALL, "training.optimizer={name: sgd, lr: 1.0e+30}", "arms={naive: {matching: none}}"]
    settings += ["evaluation.baseline=naive", f"storage.path={tmp_path}"]
    done = kindred_here("run", "digits", *(word for setting in settings for word in ("--set", setting)))
    assert done.returncode == 1
    assert "naive/seed-0, step 1: the loss is not finite" in done.stderr
    assert "a lower lr may help" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("case.yaml"))
    assert not list(tmp_path.rglob("run.json"))


def test_a_step_that_comes_too_early_says_which_comes_first(ray_local, tmp_path):
    case = load_case("digits", [*SMALL, f"storage.path={tmp_path}"])
    with pytest.raises(UserError, match="digits: not ingested with these settings"):
        steps.train(case, fresh=False)
    steps.ingest(case)
    with pytest.raises(UserError, match=r"4 of 4 runs are not trained .*`kindred train`"):
        steps.evaluate(case)
    with pytest.raises(UserError, match="`kindred evaluate`"):
        steps.report(case)


def test_the_steps_one_by_one_give_what_run_gives_and_wandb_offline_has_its_metrics(ray_local, tmp_path):
    # one arm alone, which is its own baseline
    one_arm = ["arms={naive: {matching: none}}", "evaluation.baseline=naive", f"storage.path={tmp_path}"]
    whole = run_here(load_case("digits", [*SMALL, *one_arm]))
    case = load_case("digits", [*SMALL, *one_arm, "logging.wandb.mode=offline"])
    steps.ingest(case)
    trained, experiment = steps.train(case, fresh=True)
    folder = Path(experiment)
    assert trained == 1, "again, though the run is done"
    alone = steps.evaluate(case)
    assert alone.results.arms["naive"]["digit"].difference is None
    assert steps.report(case) == [f"{experiment}/report.html"]

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    logged = list(wandb_history(file))
    assert [entry["_step"] for entry in logged] == [10, 20]
    assert {"loss", "digit", "traits"} <= set(logged[0])
    assert whole.results.arms == alone.results.arms


def wandb_history(file):
    """Read the metrics in wandb's offline file: LevelDB's log format with protobuf records."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = file.read_bytes(), 7, b""
    assert data.startswith(b":W&B")
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            found = Record.FromString(record)
            record = b""
            if found.WhichOneof("record_type") == "history":
                yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in found.history.item}


@pytest.mark.starts_ray
def test_sigterm_keeps_what_was_trained_and_ingested_and_leaves_no_process_and_no_folder_behind(
    ray_local, tmp_path, request
):
    settings = ["training.steps=1000000", "training.seeds=[0]", "arms={naive: {}}", "evaluation.baseline=naive"]
    settings.append(f"storage.path={tmp_path}")
    command = [sys.executable, "-m", "pipelines", "run", "digits"]
    command += [word for setting in settings for word in ("--set", setting)]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    request.addfinalizer(process.terminate)  # a million steps would go on where an assertion fails
    root = psutil.Process(process.pid)
    deadline = time.monotonic() + 180
    started: dict[int, psutil.Process] = {}
    while not any("RayTrainWorker" in name_of(child) for child in started.values()):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "training does not start"
        started |= {child.pid: child for child in root.children(recursive=True)}
        psutil.wait_procs([root], timeout=0.2)
    started |= {child.pid: child for child in root.children(recursive=True)}
    wait_until(
        lambda: any('"loss"' in log.read_text() for log in tmp_path.rglob("log.jsonl")),
        "a run is training",
        still=lambda: process.poll() is None,
    )
    listening = {address.ip for child in [root, *started.values()] for address in listened(child)}
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, "a Ray of one's own is nobody else's"
    (folder,) = {found[1] for child in started.values() if (found := re.search(r"(/\S*/kindred-\w+)/", name_of(child)))}
    assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700, "Ray's token, logs and sockets are nobody else's"

    process.send_signal(signal.SIGTERM)  # Ray sets a handler of its own when it starts
    assert process.wait(timeout=60) == 143
    told = process.stderr.read()
    assert "interrupted" in told
    assert list(tmp_path.rglob("checkpoints/*.safetensors")), "the first is due after a minute"
    assert "stack trace" not in told
    assert not Path(folder).exists()
    _, alive = psutil.wait_procs(list(started.values()), timeout=30)
    assert [name_of(child) for child in alive] == []

    case = load_case("digits", settings)
    blocks = sorted(file for file in (tmp_path / "blocks").rglob("*") if file.is_file())
    assert sum(file.name == "manifest.json" for file in blocks) == 4
    times = [file.stat().st_mtime_ns for file in blocks]
    again = kindred_here("ingest", "digits", *(word for setting in settings for word in ("--set", setting)))
    assert again.returncode == 0, again.stderr
    assert [file.stat().st_mtime_ns for file in blocks] == times
    assert not Path(experiment_folder(case), "results.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_names_the_signal(number, code, monkeypatch, capsys):
    monkeypatch.setattr(steps, "inspect", lambda *_: signal.raise_signal(number))
    monkeypatch.setattr(sys, "argv", ["kindred", "inspect", "digits"])
    # Where tests run in a shell's background, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler), signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert ended.value.code == code
    assert "resumes from there" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before[1]


def listened(process):
    try:
        return [c.laddr for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:
        return []


def name_of(process):
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.NoSuchProcess:
        return ""
