"""The command `kindred status`: the nodes of a Ray cluster, what of them is free, and what runs."""

import json
import re
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.connection import ADDRESS_VARIABLES, ask, connect
from cluster.jobs import list_jobs
from pipelines.base.terminal import as_text
from pipelines.cli import JsonOption

_USAGE = re.compile(r"(?P<used>[\d.]+)/(?P<total>[\d.]+) (?P<name>\S+)")
_TOLD = ("CPU", "GPU")

UrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL", envvar=ADDRESS_VARIABLES, help="The cluster's dashboard, such as http://127.0.0.1:8265."
    ),
]


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Attributes:
        node: its id.
        address: its IP address.
        is_head: whether the cluster is led from it.
        used: resources that work has, by name.
        total: resources that work may have, by name; empty where the cluster has not said so yet.
    """

    node: str
    address: str
    is_head: bool
    used: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)


def status(url: UrlArgument, as_json: JsonOption = False) -> None:
    """Show a cluster: its nodes, the CPUs and GPUs that are free, and the jobs that run or wait."""
    client = connect(url.rstrip("/"))
    nodes = nodes_of(ask(client.get_address(), "/nodes?view=summary"))
    jobs = [job for job in list_jobs(client) if job.state in ("PENDING", "RUNNING")]
    free = {
        name: sum(node.total.get(name, 0) - node.used.get(name, 0) for node in nodes)
        for name in _TOLD
        if name == "CPU" or any(name in node.total for node in nodes)
    }
    if as_json:
        about = {"nodes": [asdict(node) for node in nodes], "free": free, "jobs": [asdict(job) for job in jobs]}
        typer.echo(json.dumps(about))
        return
    table = Table()
    for name in ("node", "address", "", *(f"{name}s free" for name in _TOLD)):
        table.add_column(name)
    for node in nodes:
        of = [f"{node.total[r] - node.used.get(r, 0):g} of {node.total[r]:g}" if r in node.total else "" for r in _TOLD]
        table.add_row(node.node[-12:], node.address, "head" if node.is_head else "", *of)
    typer.echo(as_text(table, width=120))
    total = {name: sum(node.total.get(name, 0) for node in nodes) for name in free}
    typer.echo(
        f"{len(nodes)} node{'s' * (len(nodes) != 1)}; "
        + ", ".join(f"{free[name]:g} of {total[name]:g} {name}s are free" for name in free)
    )
    for job in jobs:
        at = f": {job.work} {job.done:,} of {job.total:,} {job.unit}" if job.total is not None else ""
        typer.echo(f"{job.state.lower()}: {job.job} {job.case}{at}")


def nodes_of(answer: dict[str, Any]) -> list[Node]:
    """Return the nodes that are alive from the dashboard's answer; what it does not hold is left empty."""
    data = answer.get("data") or {}
    usage = data.get("nodeLogicalResources") or {}
    nodes = []
    for about in data.get("summary") or ():
        raylet = about.get("raylet") or {}
        if raylet.get("state") != "ALIVE":
            continue
        node = str(raylet.get("nodeId", ""))
        used, total = {}, {}
        for found in _USAGE.finditer(str(usage.get(node, ""))):
            used[found["name"]], total[found["name"]] = float(found["used"]), float(found["total"])
        address = str(raylet.get("nodeManagerAddress", about.get("ip", "")))
        nodes.append(Node(node, address, bool(raylet.get("isHeadNode")), used, total))
    return sorted(nodes, key=lambda node: (not node.is_head, node.node))
