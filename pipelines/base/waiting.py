"""What work waits for on a cluster: which resources are missing, and whether more nodes could help."""

import time
from collections.abc import Callable, Mapping, Sequence

from pipelines.base.progress import note
from pipelines.base.ray_session import is_own_ray

_ASK_EVERY_S = 3.0
_WARN_AFTER_S = 40.0  # so that it stands in the log within a minute


class Waiting:
    """Says what some workers wait for; asks Ray every few seconds.

    Args:
        workers: how many there have to be before work begins.
        each: the resources of one, ``{"CPU": 1}``.
        change: what else one could do, for the message about a request that nothing may ever meet.
        tells_of_start: say too that workers are starting where all they need is there.
    """

    def __init__(self, workers: int, each: Mapping[str, float], change: str = "", tells_of_start: bool = True) -> None:
        self._workers, self._each, self._change, self._tells_of_start = workers, each, change, tells_of_start
        self._asked = time.monotonic() - _ASK_EVERY_S
        self._lacks_since: float | None = None
        self._words, self._warned = "", False

    def __call__(self, begun: bool) -> str:
        """Return what is waited for; an empty text where all is there.

        ``begun``: whether any of the work is done, so that it is not its workers' start that takes so long.
        """
        now = time.monotonic()
        if now - self._asked < _ASK_EVERY_S:
            return self._words
        self._asked = now
        nodes, free = _cluster()
        words = missing(self._workers, self._each, nodes)
        self._lacks_since = (self._lacks_since or now) if words else None
        if self._lacks_since and now - self._lacks_since > _WARN_AFTER_S and not self._warned:
            self._warned = True
            note(
                f"warning: {words}; a cluster that does not start such nodes by itself never has them: start "
                f"nodes{self._change}"
            )
        if not words and self._tells_of_start and not begun:
            words = starting(self._workers, self._each, nodes, free)
        self._words = words
        return words


def a_processor() -> Callable[[bool], str] | None:
    """Return who says so while a cluster has no processor at all; None on a Ray of one's own."""
    if is_own_ray():
        return None
    return Waiting(1, {"CPU": 1.0}, tells_of_start=False)


def missing(workers: int, each: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str:
    """Say what workers wait for that a cluster does not have at all; an empty text where it has it.

    Args:
        workers: how many.
        each: the resources of one.
        nodes: the resources of every node.

    Example:
        >>> missing(2, {"CPU": 1.0}, [{"memory": 8e9}])
        'waiting for 2 CPUs; the cluster has 0'
        >>> missing(1, {"CPU": 8.0}, [{"CPU": 4.0}, {"CPU": 4.0}])
        'waiting for a node with 8 CPUs; the largest has 4'
        >>> missing(2, {"CPU": 1.0}, [{"CPU": 4.0}])
        ''
    """
    wanted = {name: amount for name, amount in each.items() if amount}
    for name, amount in wanted.items():
        there = sum(node.get(name, 0.0) for node in nodes)
        if there < workers * amount:
            return f"waiting for {_amount(workers * amount, name)}; the cluster has {there:g}"
    for name, amount in wanted.items():
        largest = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if largest < amount:
            return f"waiting for a node with {_amount(amount, name)}; the largest has {largest:g}"
    fit = sum(int(min(node.get(name, 0.0) // amount for name, amount in wanted.items())) for node in nodes if wanted)
    if wanted and fit < workers:
        return f"waiting for {workers} workers with {_all(wanted)} each; the cluster's nodes have room for {fit}"
    return ""


def starting(workers: int, each: Mapping[str, float], nodes: Sequence[Mapping[str, float]], free: float) -> str:
    """Say that workers are being started, and how much of the cluster is free: others may have what they need."""
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    named = "a worker" if workers == 1 else f"{workers} workers"
    return f"starting {named} with {_all(each)}{' each' if workers > 1 else ''}; {free:g} of {cpus:g} CPUs are free"


def _cluster() -> tuple[list[Mapping[str, float]], float]:
    """Return the resources of the nodes that live, and how many CPUs are free; nothing where Ray has ended."""
    import ray

    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return nodes, ray.available_resources().get("CPU", 0.0)
    except Exception:  # it has ended, or is about to, while this thread asks
        return [], 0.0


def _all(each: Mapping[str, float]) -> str:
    return " and ".join(_amount(amount, name) for name, amount in each.items() if amount)


def _amount(amount: float, name: str) -> str:
    plural = f"{name}s" if name in ("CPU", "GPU") and amount != 1 else name
    return f"{amount:g} {plural}"
