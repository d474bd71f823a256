"""A Ray of one's own whose services die: who waits for it is told at once, and none of its processes is left."""

import subprocess
import sys

import psutil
import pytest

from tests.commands import environment
from tests.processes import wait_until

pytestmark = pytest.mark.starts_ray

WAITS = """
from pipelines.base.ray_session import ray_session
from pipelines.base.ray_watch import RayLostError

try:
    with ray_session():
        import ray

        @ray.remote
        def never():
            threading.Event().wait()

        import threading
        waiting = never.remote()
        print("waits", flush=True)
        try:
            ray.get(waiting)
        finally:
            ray.get(waiting)  # as who ends in order might
except RayLostError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize(("service", "words"), [("gcs_server", "GCS"), ("raylet", "raylet")])
def test_the_command_ends_and_nothing_is_left(service, words):
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
    ) as driver:
        try:
            assert driver.stdout.readline() == "waits\n"
            below = psutil.Process(driver.pid).children(recursive=True)
            (victim,) = [process for process in below if process.name() == service]
            victim.kill()
            said = driver.stdout.read()
        finally:
            driver.kill()
    assert f"({words}) has died" in said
    wait_until(lambda: not any(map(lives, below)), "its processes ended")


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
