"""Gauges at Ray's metrics endpoint, where Prometheus reads them: ``ray_kindred_...``, by run and worker.

Where no Ray is, they are told to nobody.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

# By name: what it is, and its tags.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "kindred_step": ("Steps that are done.", ("run", "worker")),
    "kindred_steps": ("Steps that the run is to have.", ("run", "worker")),
    "kindred_rows_per_second": ("Rows a second that the worker trains on.", ("run", "worker")),
    "kindred_data_wait": ("Share of the time that the worker waits for data.", ("run", "worker")),
    "kindred_gpu_memory_bytes": ("Memory of the worker's GPU that tensors have.", ("run", "worker")),
    "kindred_loss": ("The last step's loss over the global batch, by part.", ("run", "worker", "part")),
    "kindred_learning_rate": ("The last step's learning rate.", ("run", "worker")),
    "kindred_checkpoint_age_seconds": ("Seconds since the run's last checkpoint, or its start.", ("run", "worker")),
    "kindred_ingest_rows_per_second": ("Rows a second that are ingested.", ("case",)),
    "kindred_ingest_rows": ("Rows that this ingest has made into blocks.", ("case",)),
    "kindred_ingest_quarantined_rows": ("Rows that this ingest could not read.", ("case",)),
}


def set_gauge(name: str, value: float, tags: Mapping[str, str]) -> None:
    """Set one of :data:`GAUGES`; do nothing where no Ray is."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        _gauge(name).set(value, dict(tags))


@cache
def _gauge(name: str) -> Any:
    from ray.util.metrics import Gauge

    about, tags = GAUGES[name]
    return Gauge(name, about, tags)
