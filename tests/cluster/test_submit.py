"""`kindred submit` against a real Ray head on loopback that asks for a token."""

import ipaddress
import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from cluster.connection import connect
from cluster.submit import load_for_cluster
from pipelines.base.errors import UserError
from pipelines.case.load import SHIPPED_CASES, as_yaml, load_case
from tests.cluster.head import Head, free_ports, running_head
from tests.processes import wait_until

pytestmark = pytest.mark.starts_ray
SMALL = ("training.steps=20", "training.seeds=[0]", "evaluation.replicates=20", "evaluation.baseline=naive")
SMALL += ("arms={naive: {matching: none}}",)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with running_head(cpus=2) as running:
        yield running


def submit_command(head: Head, case: str, storage: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "pipelines", "submit", "--address", head.url, case]
    return [*command, "--set", f"storage.path={storage}", *more]


def kindred_submit(
    head: Head, case: str, storage: Path, *more: str, **env: str | None
) -> "subprocess.CompletedProcess[str]":
    """Run the command; an environment variable that is None is not set."""
    merged = {name: value for name, value in (head.env | env).items() if value is not None}
    return subprocess.run(
        submit_command(head, case, storage, *more), env=merged, capture_output=True, text=True, timeout=300
    )


def run_of_entrypoint(head: Head, entrypoint: str) -> "subprocess.CompletedProcess[str]":
    """Send a job as the command does, but for what the job starts; end with its exit code."""
    case = "load_for_cluster('digits', ['storage.path=/nowhere'])"
    return following(head, f"send(client, {case}, sys.argv[2])", entrypoint)


def following(head: Head, job: str, argument: str) -> "subprocess.CompletedProcess[str]":
    """Follow the job that an expression gives; end with its exit code."""
    script = (
        "import sys; from cluster.connection import connect; from cluster.follow import follow\n"
        "from cluster.submit import load_for_cluster, send\n"
        f"client = connect(sys.argv[1]); sys.exit(follow(client, {job})['exit_code'])"
    )
    command = [sys.executable, "-c", script, head.url, argument]
    return subprocess.run(command, env=head.env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def case_with_data(tmp_path: Path) -> str:
    """A case whose data would lie below data_root, on the machine that runs it."""
    text = (SHIPPED_CASES / "digits.yaml").read_text().replace("embedded: digits", "data_root: /nowhere")
    file = tmp_path / "my.yaml"
    file.write_text(text)
    return str(file)


def test_the_digits_case_runs_on_the_cluster(head: Head, tmp_path: Path) -> None:
    overrides = [part for override in SMALL for part in ("--set", override)]
    # --address wins over what Ray's client itself would put before it.
    done = kindred_submit(head, "digits", tmp_path, *overrides, RAY_ADDRESS="http://127.0.0.1:1")
    assert done.returncode == 0, done.stderr
    assert "Running entrypoint for job" in done.stdout
    reports = list(tmp_path.glob("digits-*/report.html"))
    assert len(reports) == 1
    assert f"report: {reports[0]}" in done.stdout
    results = json.loads(reports[0].with_name("results.json").read_text())
    assert results["case"] == "digits"
    assert re.search(r"job raysubmit_\w+ succeeded", done.stdout)
    assert head.token not in done.stdout + done.stderr


def test_the_job_finds_the_whole_case_and_the_command_ends_with_the_exit_code_of_a_killed_one(head: Head) -> None:
    done = run_of_entrypoint(head, "cat case.yaml; kill -9 $$")
    assert done.returncode == 137
    assert as_yaml(load_case("digits", ["storage.path=/nowhere"])) in done.stdout
    assert "failed, exit code 137" in done.stderr


def test_data_that_the_cluster_does_not_have_is_a_mistake_that_the_job_tells(
    head: Head, case_with_data: str, tmp_path: Path
) -> None:
    done = kindred_submit(head, case_with_data, tmp_path, "--json")
    assert done.returncode == 2
    outcome = json.loads(done.stdout)
    assert outcome | {"job": ""} == {"job": "", "status": "FAILED", "exit_code": 2, "storage": str(tmp_path)}
    assert "data_root: found '/nowhere', no such folder or archive" in done.stderr


def test_a_mistake_in_the_case_is_told_before_anything_is_sent(head: Head, tmp_path: Path) -> None:
    before = head.jobs()
    done = kindred_submit(head, "digits", tmp_path, "--set", "training.stepz=20")
    assert done.returncode == 2
    assert "unknown key 'stepz'; did you mean 'steps'?" in done.stderr
    assert head.jobs() == before


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"RAY_AUTH_TOKEN": "a-wrong-one"}, "refuses the token from RAY_AUTH_TOKEN; set RAY_AUTH_TOKEN to"),
        (
            {"RAY_AUTH_TOKEN": "a-wrong\none"},
            "the token from RAY_AUTH_TOKEN has a character that cannot be sent",
        ),
        ({"RAY_AUTH_TOKEN": None}, "none was found; set RAY_AUTH_TOKEN to the cluster's token, or"),
        (
            {"RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": "/nowhere"},
            "RAY_AUTH_TOKEN_PATH: found /nowhere, a file",
        ),
        ({"RAY_AUTH_MODE": None}, "(RAY_AUTH_MODE is not set); set RAY_AUTH_MODE=token"),
    ],
    ids=["wrong", "unsendable", "none", "no file", "no mode"],
)
def test_a_wrong_token_is_refused_and_the_message_says_what_to_set(
    head: Head, tmp_path: Path, env: dict[str, str | None], says: str
) -> None:
    """By `submit` once; by `jobs`, which is let in by the same code and reads no case, the other times."""
    before = head.jobs()
    if env == {"RAY_AUTH_TOKEN": "a-wrong-one"}:
        done = kindred_submit(head, "digits", tmp_path, **env)
    else:
        merged = {name: value for name, value in (head.env | env).items() if value is not None}
        command = [sys.executable, "-m", "pipelines", "jobs", "--address", head.url]
        done = subprocess.run(command, env=merged, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    for token in (head.token, "a-wrong"):
        assert token not in done.stdout + done.stderr
    assert head.jobs() == before


def test_a_run_of_two_workers_is_listed_measured_left_and_stopped_with_a_checkpoint(head: Head, tmp_path: Path) -> None:
    """One run for all of it, as starting it is what takes time."""
    (tmp_path / "my_nets.py").write_text(
        "from torch import nn\n\n\ndef build(shape):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 16), nn.ReLU()), 16\n"
    )
    overrides = [*SMALL[1:], "training.steps=1000000", "training.workers=2", "network={backbone: my_nets:build}"]
    more = ["--with", str(tmp_path / "my_nets.py"), *(word for setting in overrides for word in ("--set", setting))]
    command = submit_command(head, "digits", tmp_path / "store", *more)
    environment = head.env | {"KINDRED_LOG_FORMAT": "json"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    job, at, lines = None, {}, []
    for line in process.stdout:
        lines.append(line)
        if found := re.search(r"Running entrypoint for job (\w+)", line):
            job = found[1]
        at = json.loads(line) if line.startswith("{") else {}
        if at.get("work") == "train" and at["step"]:
            break
    assert job, lines
    assert at.get("work") == "train", lines
    assert (at["run"], at["rank"], at["total"]) == ("naive/seed-0", 0, 1_000_000)

    (listed,) = (one for one in json.loads(asked(head, "jobs", "--json")) if one["job"] == job)
    assert (listed["case"], listed["state"], listed["work"], listed["total"]) == (
        "digits",
        "RUNNING",
        "train",
        1_000_000,
    )
    seen = json.loads(head.kindred("status", head.url, "--json").stdout)
    assert [(node["is_head"], node["total"]["CPU"]) for node in seen["nodes"]] == [(True, 2.0)]
    assert [one["job"] for one in seen["jobs"]] == [job]
    told: dict[str, float] = {}

    def all_told() -> bool:
        told.update(gauges(head))
        print(sorted(told))  # what is told between two readings stands in one of them alone
        return len(told) == len(TOLD)

    wait_until(all_told, "the gauges of both workers")
    assert all(value > 0 for value in told.values())
    listening = listening_addresses(head.pid)
    assert len(listening) > 10
    assert {address for address in listening if not address.is_loopback} == set(), "nothing is for other machines"

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "sent: case.yaml, my_nets.py" in said
    assert f"job {job} continues" in said
    assert f"kindred stop --address {head.url} {job}" in said
    assert "Traceback" not in said
    assert head.status(job) == "RUNNING"
    stopped = asked(head, "stop", job)
    assert f"job {job} is stopped" in stopped
    assert list(tmp_path.rglob("checkpoints/*.safetensors")), "the first is due after a minute"
    followed = head.kindred("logs", "--follow", "--address", head.url, job)
    assert followed.returncode == 143
    assert "interrupted; what was ingested and trained is kept" in followed.stdout
    assert f"job {job} stopped, exit code 143" in followed.stderr


TOLD = {
    f'ray_{name}{{run="naive/seed-0",worker="{worker}"}}'
    for name in ("kindred_step", "kindred_rows_per_second")
    for worker in (0, 1)
} | {'ray_kindred_loss{part="loss",run="naive/seed-0",worker="0"}'}


def gauges(head: Head) -> dict[str, float]:
    """Return what the metrics endpoint has of ours, as far as the test looks at it, without Ray's own tags."""
    found = {}
    for line in head.metrics().splitlines():
        if line.startswith("ray_kindred_"):
            name, tags, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
            ours = sorted(tag for tag in re.findall(r'\w+="[^"]*"', tags) if tag.split("=")[0] in OUR_TAGS)
            found[f"{name}{{{','.join(ours)}}}"] = float(value)
    return {name: value for name, value in found.items() if name in TOLD}


OUR_TAGS = ("run", "worker", "part")


def listening_addresses(pid: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses that a process and all below it listen on."""
    found = []
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with suppress(psutil.Error):
            found += [c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    return [ipaddress.ip_address(address.removeprefix("::ffff:")) for address in found]


def asked(head: Head, command: str, *arguments: str) -> str:
    done = head.kindred(command, "--address", head.url, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_job_that_is_not_there_is_a_mistake(head: Head) -> None:
    done = head.kindred("stop", "--address", head.url, "raysubmit_none")
    assert done.returncode == 2
    assert "found 'raysubmit_none', no such job" in done.stderr


def test_without_waiting_the_command_ends_when_the_job_is_sent(head: Head, case_with_data: str, tmp_path: Path) -> None:
    done = kindred_submit(head, case_with_data, tmp_path, "--no-wait", "--json")
    assert done.returncode == 0
    outcome = json.loads(done.stdout)
    assert outcome["exit_code"] is None
    assert outcome["job"] in head.jobs()
    assert f"kindred logs --address {head.url} --follow {outcome['job']}" in done.stderr


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:8265", "found '127.0.0.1:8265'; expected the URL of the cluster's dashboard"),
        (
            "ray://127.0.0.1:10001",
            "found 'ray://127.0.0.1:10001'; expected the URL of the cluster's dashboard",
        ),
        ("http://127.0.0.1:99999", "Port out of range"),
        ("http://somebody:secret@127.0.0.1:8265", "found a user name or password in the URL"),
        ("http://somebody:secret@127.0.0.1:99999", "found a user name or password in the URL"),
    ],
)
def test_an_address_that_is_no_dashboards_url_is_refused(address: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)) as refused:
        connect(address)
    assert "secret" not in str(refused.value)


def test_an_address_where_nobody_answers_is_told() -> None:
    (port,) = free_ports(1)
    with pytest.raises(UserError, match=rf"^http://127.0.0.1:{port}: no Ray dashboard there \(no answer: "):
        connect(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("drips", [False, True], ids=["silent", "a byte now and then"])
def test_an_address_that_never_answers_is_not_waited_for_longer_than_was_said(drips: bool) -> None:
    """A socket's own timeout begins anew with every byte."""
    over = Event()

    def drip() -> None:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            while not over.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = Thread(target=drip, daemon=True)
        if drips:
            dripping.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"^{url}: no Ray dashboard there"):
            connect(url, answer_within=0.4)
        over.set()
        if drips:
            dripping.join(10)


def test_another_port_of_ray_is_not_taken_for_the_dashboard(head: Head) -> None:
    with pytest.raises(UserError, match="no Ray dashboard there"):
        connect(f"http://127.0.0.1:{head.gcs_port}")


@pytest.mark.parametrize(("status", "body"), [(404, "gone"), (200, "<html>hello</html>"), (200, "{}")])
def test_another_web_server_is_not_taken_for_the_dashboard(status: int, body: str) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(UserError, match="no Ray dashboard there"):
            connect(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_path_that_the_cluster_cannot_know_is_refused(case_with_data: str) -> None:
    with pytest.raises(UserError) as refused:
        load_for_cluster("digits", [])
    assert str(refused.value).startswith("digits: storage.path: found 'kindred-runs'; the run is on the cluster")
    assert "data_root" not in str(refused.value)
    with pytest.raises(UserError, match="data_root: found 'pictures'; the run is on the cluster"):
        load_for_cluster(case_with_data, ["storage.path=/nowhere", "data_root=pictures"])
    with pytest.raises(UserError, match="data_root: missing; the run is on the cluster"):
        load_for_cluster(case_with_data, ["storage.path=/nowhere", "data_root=null"])


def test_the_clusters_paths_are_sent_as_they_are_written(case_with_data: str) -> None:
    case = load_for_cluster(case_with_data, ["storage.path=/mnt/../mnt/runs"])
    assert case.storage.path == "/mnt/../mnt/runs"
    assert case.data_root == "/nowhere"
    with pytest.raises(UserError, match="data_root: found '/nowhere', no such folder or archive"):
        load_case(case_with_data, ["storage.path=/mnt/runs"])


@pytest.mark.parametrize("case", [file.stem for file in SHIPPED_CASES.glob("*.yaml")])
def test_a_case_written_out_is_the_same_case(case: str, tmp_path: Path) -> None:
    loaded = load_for_cluster(case, ["storage.path=/mnt/runs", "data_root=/mnt/data"])
    file = tmp_path / "case.yaml"
    file.write_text(as_yaml(loaded))
    assert load_for_cluster(str(file), []) == loaded
