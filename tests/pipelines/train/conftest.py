import pytest


@pytest.fixture
def digits_case(ray_local, digits_store):
    """The digits case with other settings, ingested into the storage that all tests share."""
    from pipelines.case.load import load_case
    from pipelines.ingest.ingest import ingest

    def load(*overrides):
        case = load_case("digits", [f"storage.path={digits_store}", *overrides])
        ingest(case)
        return case

    return load
