"""A real Ray head on loopback that asks for a token, and commands of somebody who may use it."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

ROOT = Path(__file__).parents[2]
HEAD_NODE = "f" * 51 + "00000"  # the node id that Ray's fake provider takes for the head's
HEAD_TYPE = "ray.head.default"  # and the type
_LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
_LISTS += ("head_start_ray_commands", "worker_start_ray_commands")
_LISTS += ("cluster_synced_files", "rsync_exclude", "rsync_filter")


@dataclass(frozen=True)
class Head:
    """A running head; ``env`` is the environment of somebody who may use it."""

    url: str
    gcs_port: int
    token: str
    env: dict[str, str]
    pid: int
    nodes_file: str
    autoscaler: str

    def allow(self, most_nodes: int) -> None:
        """Let the autoscaler, which reads its configuration again and again, have so many nodes."""
        write_configuration(self.nodes_file, autoscaling(most_nodes, f"127.0.0.1:{self.gcs_port}", self.autoscaler))

    def api(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        with urlopen(Request(self.url + path, method=method, headers=headers), timeout=30) as answer:
            return json.load(answer)

    def jobs(self) -> set[str]:
        return {job["submission_id"] for job in self.api("/api/jobs/")}

    def status(self, job: str) -> str:
        return str(self.api(f"/api/jobs/{job}")["status"])

    def nodes(self) -> list[str]:
        """Return the ids of the nodes that are alive, as Ray lists them."""
        listed = self.api("/api/v0/nodes?detail=1")["data"]["result"]["result"]
        return [str(node["node_id"]) for node in listed if node["state"] == "ALIVE"]

    def metrics(self) -> str:
        """Return what Prometheus would read from the head."""
        (node,) = self.api("/nodes?view=summary")["data"]["summary"]
        with urlopen(f"http://127.0.0.1:{node['raylet']['metricsExportPort']}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def kindred(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of somebody who may use the head."""
        command = [sys.executable, "-m", "pipelines", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=300)


@contextmanager
def running_head(cpus: int, most_nodes: int = 0, autoscaler: str = "v1") -> Iterator[Head]:
    """Start a head, and end it and its nodes; it starts up to ``most_nodes`` nodes of one CPU as work asks for them.

    ``autoscaler``: the version of Ray's, v1 or v2.
    """
    # A short path: Ray makes Unix sockets below it, and their paths may not be longer than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="kindred-", ignore_cleanup_errors=True) as folder:
        token = secrets.token_hex(32)
        client = {name: value for name, value in os.environ.items() if not name.upper().startswith("RAY_")}
        client |= {"HOME": folder, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}
        client |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        gcs, dashboard, agent, ray_client, metrics, more_metrics = free_ports(6)
        # Nothing on a port that another Ray of this machine may have: the others Ray chooses freely.
        ports = {
            "port": gcs,
            "dashboard-port": dashboard,
            "dashboard-agent-listen-port": agent,
            "ray-client-server-port": ray_client,
            "min-worker-port": 0,
            "max-worker-port": 0,
        }
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--num-cpus={cpus}"]
        command += ["--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}/ray"]
        command += ["--object-store-memory=200000000", *(f"--{name}={port}" for name, port in ports.items())]
        env = client | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # the job's `python` is this one
            # Without it Ray puts the machine's own address for 127.0.0.1, and listens on every interface.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "AUTOSCALER_METRIC_PORT": str(metrics),
            "DASHBOARD_METRIC_PORT": str(more_metrics),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        if most_nodes:
            command.append(f"--autoscaling-config={folder}/nodes.json")
            write_configuration(f"{folder}/nodes.json", autoscaling(most_nodes, f"127.0.0.1:{gcs}", autoscaler))
            env |= {
                "RAY_FAKE_CLUSTER": "1",
                "RAY_enable_autoscaler_v2": str(int(autoscaler == "v2")),
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE,
                "RAY_CLOUD_INSTANCE_ID": HEAD_NODE,  # by which v2 knows the head among the provider's nodes
            }
        with open(f"{folder}/head.log", "w+") as log:
            for attempt in range(3):  # Ray gives a node thirty seconds to start, which a busy machine exceeds
                process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
                url = f"http://127.0.0.1:{dashboard}"
                running = Head(url, gcs, token, client, process.pid, f"{folder}/nodes.json", autoscaler)
                try:
                    if not has_started(running, process):
                        assert attempt < 2, f"the head ended: {Path(log.name).read_text()}"
                        continue
                    yield running
                    break
                finally:
                    kill_tree(process.pid)
                    process.wait()


def write_configuration(file: str, content: dict[str, Any]) -> None:
    """Write it whole, as the autoscaler may read it at any time."""
    Path(f"{file}.new").write_text(json.dumps(content))
    os.replace(f"{file}.new", file)


_FAKE = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"


def autoscaling(most_nodes: int, gcs_address: str, autoscaler: str = "v1") -> dict[str, Any]:
    """Return the configuration of Ray's autoscaler for nodes that are processes of this machine."""
    node = {"node_config": {}, "min_workers": 0}
    # v2 has no fake provider of its own, and takes v1's as one that it knows nothing of.
    v2 = {"type": "external", "module": _FAKE, "launch_multiple": True}
    return {
        "cluster_name": "kindred",
        "provider": (v2 if autoscaler == "v2" else {"type": "fake_multinode"})
        | {
            "gcs_address": gcs_address,
            "head_node_id": HEAD_NODE,
            # Without these three every node is taken for dead within seconds.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "auth": {"ssh_user": "nobody"},
        "max_workers": most_nodes,
        "upscaling_speed": 100.0,
        "idle_timeout_minutes": 0.1,
        "head_node_type": HEAD_TYPE,
        "available_node_types": {
            HEAD_TYPE: node | {"resources": {}, "max_workers": 0},
            "one-cpu": node | {"resources": {"CPU": 1, "object_store_memory": 100 << 20}, "max_workers": most_nodes},
        },
        # The file that Ray would read defaults from is not in its wheel.
        "docker": {},
        "file_mounts": {},
        **{key: [] for key in _LISTS},
        "file_mounts_sync_continuously": False,
    }


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def has_started(head: Head, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until the dashboard takes jobs and lists the head's node; say whether it did before the head ended."""
    deadline = time.monotonic() + 180
    while process.poll() is None:
        with suppress(HTTPError, URLError, ConnectionError, TimeoutError):
            head.jobs()
            if head.nodes():
                return True
        assert time.monotonic() < deadline, "no dashboard after three minutes"
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
    return False


def kill_tree(pid: int) -> None:
    processes: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        processes += [*root.children(recursive=True), root]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
