"""One local Ray for all tests that share it (starting it is what costs), and the real data where they are."""

import os
from pathlib import Path

import pytest

from tests.object_storage import CREDENTIALS

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes on two cores: a thread each, and for what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def shared_data(name):
    """Return one of the real datasets, or skip the test where they are not."""
    if not (SHARED_DATA / name).is_file():
        pytest.skip(f"../shared/data/{name} is not there")
    return SHARED_DATA / name


@pytest.fixture(scope="session")
def ray_local(tmp_path_factory):
    """A Ray of two CPUs on this machine, shut down at the end."""
    os.environ.pop("RAY_ADDRESS", None)
    # For its workers, too; object storage then needs no more than a URL with its endpoint.
    os.environ.update(CREDENTIALS, KINDRED_BLOCK_CACHE=str(tmp_path_factory.mktemp("block-cache")))
    from pipelines.base.ray_session import ray_session

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


def pytest_collection_modifyitems(items):
    """Files whose tests start a Ray of their own come first, then those that share the local one, then the quick ones.

    So nothing long begins last when files are dealt over processes (``-n 2 --dist loadfile``).
    """
    turns = {}
    for item in items:
        turns[item.path] = min(turns.get(item.path, 2), turn(item))
    items.sort(key=lambda item: turns[item.path])


def turn(item):
    if item.get_closest_marker("starts_ray"):
        return 0
    return 1 if "ray_local" in getattr(item, "fixturenames", ()) else 2
