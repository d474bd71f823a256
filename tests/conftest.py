"""One local Ray for the whole suite (starting it is what costs), and the real data where they are."""

import os
from pathlib import Path

import pytest

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


def pytest_collection_modifyitems(items):
    """Tests that share the local Ray run one after the other, and those that start a Ray of their own at the end:
    two Rays at once would share two cores."""
    items.sort(key=lambda item: "starts_ray" in {mark.name for mark in item.iter_markers()})
