"""Train on a cluster of real nodes, on this machine, that die, join, and are taken away with a notice.

A program, for a Ray of its own: ``python -m tests.pipelines.train.elastic_run FOLDER``; prints what came of it as JSON.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

STEPS, STAND_STILL, BATCH = 900, 400, 24
_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
}


def main(folder):
    os.environ.update(_ENVIRONMENT)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        _train(cluster, folder)
    finally:
        cluster.shutdown()


def _train(cluster, folder):
    from pipelines.base.ray_session import ray_session
    from pipelines.case.load import load_case
    from pipelines.ingest.ingest import ingest, ingested
    from pipelines.train.launch import train
    from tests.pipelines.counted_case import write_counted_case
    from tests.pipelines.train.test_deaths import newest_step
    from tests.processes import wait_until

    first = cluster.add_node(num_cpus=1)
    stand_still = [STAND_STILL * BATCH, (STAND_STILL + 60) * BATCH]
    file = write_counted_case(
        folder,
        # What is left when a node's notice comes must take longer than seeing it does (1.5 s at most).
        {"alone_until": stand_still, "together_s": 0.02, "dropout": 0.0},
        steps=STEPS,
        workers=[1, 2],
        resize_every_s=1,
        max_failures=-1,
        checkpoints={"every_steps": 50},
    )
    case = load_case(str(file), [f"storage.path={folder / 'store'}"])
    with ray_session():
        ingest(case)
        training = threading.Thread(target=train, args=(case, ingested(case)))
        training.start()

        def reaches(step):
            wait_until(lambda: newest_step(case) >= step, f"step {step}", still=training.is_alive)

        reaches(100)
        cluster.remove_node(first, allow_graceful=False)  # SIGKILL
        reaches(STAND_STILL - STAND_STILL % 50)
        second = cluster.add_node(num_cpus=1)
        reaches(STAND_STILL + 100)
        noticed = newest_step(case)
        _give_notice(second.node_id)
        wait_until(lambda: newest_step(case) % 50, "the checkpoint before the node is taken", still=training.is_alive)
        cluster.remove_node(second, allow_graceful=False)
        training.join()
    print(json.dumps({"experiment": case.storage.path, "noticed": noticed}))


def _give_notice(node_id):
    """Do what a cloud does before it takes a spot machine away."""
    import ray
    from ray.core.generated import autoscaler_pb2

    gcs = ray._private.worker.global_worker.gcs_client
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = gcs.drain_node(node_id, reason, "taken away", int(time.time() * 1000) + 3000)
    assert accepted, why


if __name__ == "__main__":
    main(Path(sys.argv[1]))
