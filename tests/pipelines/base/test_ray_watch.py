"""A Ray of one's own whose services die: who waits for it is told at once, and none of its processes is left."""

import shutil
import subprocess
import sys

import psutil
import pytest

from pipelines.base.errors import UserError
from pipelines.base.ray_watch import RayLostError, ending_with_ray, own_processes
from tests.commands import environment
from tests.processes import lives, name_of, wait_until

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
            (victim,) = [process for process in below if name_of(process) == service]
            victim.kill()
            said = driver.stdout.read()
        finally:
            driver.kill()
    assert f"({words}) has died" in said
    wait_until(lambda: not any(map(lives, below)), "its processes ended")


@pytest.fixture
def raylet(tmp_path):
    """A process that bears the name of Ray's, and does nothing."""
    shutil.copy(shutil.which("sleep"), tmp_path / "raylet")
    before = own_processes()
    with subprocess.Popen([tmp_path / "raylet", "600"]) as process:
        wait_until(lambda: any(name_of(one) == "raylet" for one in own_processes()), "it has its name")
        yield process, before
        process.kill()


@pytest.mark.parametrize(
    ("error", "told"), [(RuntimeError("the node died"), RayLostError), (UserError("a mistake"), UserError)]
)
def test_what_fails_since_ray_has_died_is_told_as_that_and_a_users_mistake_as_it_is(raylet, error, told):
    process, before = raylet
    with pytest.raises(told) as raised, ending_with_ray(before):  # noqa: PT012 - it is about what happens in between
        process.kill()
        process.wait()
        raise error
    assert error in (raised.value, raised.value.__cause__)


def test_an_error_while_ray_lives_is_no_death_of_it(raylet):
    process, before = raylet
    with pytest.raises(RuntimeError, match="something else"), ending_with_ray(before):
        raise RuntimeError("something else")
    assert process.poll() is None
