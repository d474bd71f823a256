"""One local Ray for the whole suite (starting it is what costs), and the real data where they are."""

import os
from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def ray_local():
    """A Ray of two CPUs on this machine, shut down at the end."""
    os.environ.pop("RAY_ADDRESS", None)
    from pipelines.ray_session import ray_session

    with ray_session():
        yield


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory):
    """A storage path whose ingested digits all tests share; what is trained lies apart by its settings."""
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="session")
def cifar10_archive():
    archive = SHARED_DATA / "cifar10-images.zip"
    if not archive.is_file():
        pytest.skip("../shared/data/cifar10-images.zip is not there")
    return archive


@pytest.fixture(scope="session")
def grocery_archive():
    archive = SHARED_DATA / "grocery-store.zip"
    if not archive.is_file():
        pytest.skip("../shared/data/grocery-store.zip is not there")
    return archive


def pytest_collection_modifyitems(items):
    """Tests that share the local Ray run one after the other, and those that start a Ray of their own at the end:
    two Rays at once would share two cores."""
    items.sort(key=lambda item: "starts_ray" in {mark.name for mark in item.iter_markers()})
