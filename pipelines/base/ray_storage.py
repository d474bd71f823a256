"""The storage path of Ray Train's and Ray Tune's own files."""

from typing import Any

from pipelines.base.storage import file_system, is_remote, join


def ray_storage(folder: str) -> dict[str, Any]:
    """Return the arguments of a RunConfig for a folder, a path or a URL."""
    place = join(folder, ".ray")
    if not is_remote(place):
        return {"storage_path": place}
    system, path = file_system(place)
    return {"storage_path": path, "storage_filesystem": system}
