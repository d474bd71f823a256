"""The service on Ray Serve: batches, refusals, a replica that dies, and the page in a browser."""

import json
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from pipelines.use.model import Model
from pipelines.use.service import Limits
from tests.pipelines.use.test_model import PICTURES, files_of
from tests.pipelines.use.test_service import png

pytest.importorskip("starlette", reason="the extra [serve] is not installed")
from pipelines.use.serve import ServeSettings, serving

TOKEN, REPLICA = "a-token-of-the-tests", "ray::ServeReplica:kindred:Replica"


@pytest.fixture(scope="module")
def address(ray_local):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ServeSettings(token=TOKEN, limits=Limits(most_bytes=100_000))
    with serving([files_of(PICTURES)], settings, "127.0.0.1", port) as url:
        yield url


def ask(url, body=None, kind="image/png", token=TOKEN):
    request = urllib.request.Request(url, data=body, headers={"content-type": kind, "authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_service_answers_what_the_model_says_and_refuses_with_a_reason(address):
    status, said = ask(f"{address}predict", png(fill=30))
    assert status == 200, said
    (answer,) = json.loads(said)["predictions"]
    expected = Model([files_of(PICTURES)]).predict(np.full((1, 7, 9), 30, np.uint8), full=True)
    assert answer["kind"]["label"] == expected["kind"][0]
    np.testing.assert_allclose(
        list(answer["kind"]["probabilities"].values()), expected["kind.probabilities"][0], atol=1e-5
    )
    assert ask(f"{address}predict", png(), token="wrong")[0] == 401
    assert ask(f"{address}metrics", token="wrong")[0] == 401
    status, said = ask(f"{address}predict", png()[:40])
    assert status == 400
    assert json.loads(said)["error"].startswith("pictures[0]: ")
    assert ask(f"{address}predict", b"x" * 100_001)[0] == 413
    assert ask(f"{address}predict")[0] == 405
    assert ask(f"{address}nothing")[0] == 404
    assert json.loads(ask(f"{address}healthz", token="")[1]) == {"status": "ok"}
    assert json.loads(ask(f"{address}openapi.json", token="")[1])["openapi"].startswith("3.")
    assert 'kindred_requests_total{status="200"} ' in ask(f"{address}metrics")[1]


def test_a_replica_that_is_killed_loses_no_request(address):
    wanted, answers, killed = 60, [], threading.Event()

    def send(i):
        answers.append(ask(f"{address}predict", png(fill=i)))
        if i == 10:
            processes = psutil.Process().children(recursive=True)
            (replica,) = [one for one in processes if "".join(one.cmdline()).startswith(REPLICA)]
            replica.kill()
            killed.set()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(wanted)))
    assert killed.is_set()
    assert [status for status, _ in answers] == [200] * wanted


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here")
def test_the_page_shows_every_tasks_answer_as_bars(address):
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
    shown = subprocess.run(
        [*command, f"{address}#token={TOKEN}&sample=1"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert shown.count('class="bar"') == 3
    assert "✓ " in shown
    wrong = subprocess.run(
        [*command, f"{address}#token=no&sample=1"], capture_output=True, text=True, timeout=120, check=True
    ).stdout
    assert "no or a wrong token" in wrong
