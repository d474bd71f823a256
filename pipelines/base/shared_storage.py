"""Whether every node of a cluster sees the storage: each is asked once, before work begins."""

import os
import uuid
from collections.abc import Iterable
from functools import partial

from pipelines.base.errors import UserError
from pipelines.base.ray_session import is_own_ray
from pipelines.base.storage import StorageUnavailableError, delete, is_remote, join, parent, read_bytes, write_whole

_LONGEST_ANSWER_S = 30.0


def check_storage_is_shared(storage: str, key: str = "storage.path") -> None:
    """Have every node of the cluster read what the driver has written, and write beside it.

    A node that does not answer in time, since it is busy or about to go, is passed over.

    Args:
        storage: the path or URL.
        key: what it is called in messages.

    Raises:
        UserError: names the nodes that do not see it.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = uuid.uuid4().hex
    mark = join(storage, f".seen-{name}")
    try:
        write_whole(mark, name)
    except (OSError, StorageUnavailableError) as error:
        raise UserError(f"{key}: found {storage!r}, which cannot be written to: {error}") from None
    try:
        probe = ray.remote(num_cpus=0, max_retries=0)(_problem)
        nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
        asked = {
            probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(mark, name): node
            for node in nodes
        }
        answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_LONGEST_ANSWER_S)
        problems = [(asked[one], said) for one in answered if (said := _answer(one))]
    finally:
        delete(mark)
    if problems:
        raise UserError(
            "\n".join(f"node {nodes[node]} ({node[-12:]}) cannot see {key}: {said}" for node, said in sorted(problems))
            + f"\nexpected {key} on a file system that all nodes mount under the same path, or in object storage"
        )


def check_on_start(storage: str) -> partial[None] | None:
    """Return the check to make when a cluster is joined; None where Ray is this machine's own."""
    return None if is_own_ray() else partial(check_storage_is_shared, storage)


def this_node() -> str:
    """Return what to call the node that a task or worker is on."""
    import ray

    return f"node {ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[-12:]})"


def unseen(folders: Iterable[str]) -> str:
    """Say which of some folders, made by the driver, this node does not see; an empty text where it sees all.

    Object storage is the same for all, and is not asked.
    """
    for folder in folders:
        if not is_remote(folder) and not os.path.isdir(folder):
            return f"{this_node()} cannot see storage.path: {folder} is not there"
    return ""


def _problem(mark: str, name: str) -> str:
    """Return, on a node, why the driver's mark cannot be read or written beside; an empty text where it can."""
    try:
        if read_bytes(mark).decode(errors="replace") != name:
            return f"{mark} is another file there"
        beside = join(parent(mark), f".seen-{uuid.uuid4().hex}")
        write_whole(beside, name)
        delete(beside)
    except FileNotFoundError:
        return f"{mark} was written and is not there"
    except (OSError, StorageUnavailableError) as error:
        return str(error)
    return ""


def _answer(reference: object) -> str:
    import ray
    from ray.exceptions import RayError

    try:
        return str(ray.get(reference))
    except RayError:
        return ""  # the node has gone
