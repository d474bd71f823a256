"""Say it in the log when a node of the cluster is lost: what it was at is done again, and that takes a while."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipelines.base.progress import note

_LOOK_EVERY_S = 3.0
# Ray's reasons for a node that has ended as it should: it was told to, or had nothing to do.
_EXPECTED = {1, 4}


@contextmanager
def telling_of_lost_nodes(every_s: float = _LOOK_EVERY_S) -> Iterator[None]:
    """Look which nodes of the cluster live for as long as the block runs, and note those that are lost."""
    ended = threading.Event()

    def look() -> None:
        known: set[str] = set()
        while not ended.wait(every_s):
            nodes = _nodes()
            for words in lost(known, nodes):
                note(words)
            known |= {str(node["NodeID"]) for node in nodes if node["Alive"]}

    looking = threading.Thread(target=look, name="lost-nodes", daemon=True)
    looking.start()
    try:
        yield
    finally:
        ended.set()
        looking.join()


def lost(known: set[str], nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every node that was known to live and is lost; it is known no longer.

    Args:
        known: ids of nodes that lived.
        nodes: of the cluster, as ``ray.nodes`` returns them.
    """
    for node in nodes:
        if node["Alive"] or node["NodeID"] not in known:
            continue
        known.discard(node["NodeID"])
        if node.get("DeathReason") not in _EXPECTED:
            yield (
                f"node {node['NodeManagerAddress']} ({node['NodeID'][-12:]}) is lost; what it was at is done again, "
                "from the last checkpoint where it trained"
            )


def _nodes() -> Sequence[Mapping[str, Any]]:
    import ray

    try:
        return list(ray.nodes())
    except Exception:  # Ray has ended, or is about to
        return []
