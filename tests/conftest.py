"""One local Ray for all tests that share it (starting it is what costs), and the real data where they are."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes on two cores: a thread each, and for what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name):
    """Return one of the real data sets, or skip the test where they are not."""
    if not (SHARED_DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is not there")
    return SHARED_DATA / name


@pytest.fixture(scope="session")
def ray_local():
    """A Ray of two CPUs on this machine, shut down at the end."""
    os.environ.pop("RAY_ADDRESS", None)
    from pipelines.ray_session import ray_session

    with ray_session():
        yield


@pytest.fixture(scope="session")
def two_workers():
    """Two worker processes, for what needs two and no Ray."""
    from tests.two_workers import TwoWorkers

    workers = TwoWorkers()
    yield workers
    workers.close()


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory):
    """A storage path whose ingested digits all tests share; what is trained lies apart by its settings."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def cifar10_archive():
    return shared_data("cifar10-images.zip")


@pytest.fixture(scope="session")
def grocery_archive():
    return shared_data("grocery-store.zip")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks at the groups after this
def pytest_collection_modifyitems(items):
    """With ``-n 2 --dist loadgroup`` a group runs in one process: a file, and all that share the local Ray.

    The longest come first, in the same order without pytest-xdist.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group("local Ray" if shares_ray(item) else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: 0 if shares_ray(item) else 1 if item.get_closest_marker("starts_ray") else 2)


def shares_ray(item):
    return "ray_local" in getattr(item, "fixturenames", ())
