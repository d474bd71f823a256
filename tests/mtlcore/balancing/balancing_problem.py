"""A small joint problem, trained by any balancing method on one worker or several."""

from importlib.util import find_spec

import numpy as np
import safetensors.torch
import torch

from mtlcore import (
    BALANCING_METHODS,
    DistributionMatching,
    JointLoss,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    build_balancer,
    mlp,
    seeded_init,
)
from mtlcore.balancing.torchjd_aggregators import AGGREGATORS

A, B, C = Multiclass("A", ("a", "b", "c", "d")), Multilabel("B", ("l", "m", "n")), Multiclass("C", ("x", "y", "z"))
PAIR = RelatedPair(
    Relatedness.from_rows(A, B, {"a": "l", "b": ["m", "n"], "c": {"l": 0.3, "n": 1.0}, "d": []}),
    dm=DistributionMatching(0.3),
    sca=SoftCoAnnotation(0.2, 0.5),
)
JOINT = JointLoss([A, B, C], [PAIR], {"B": 2.0})
OPTIONS = {
    "constant": {"weights": {"A": 1.0, "B": 0.5, "C": 2.0, "matching": 0.1}},
    "dwa": {"period": 2, "temperature": 0.5},
    "gradnorm": {"lr": 0.2},
    "nash_mtl": {"update_weights_every": 3},
    "uncertainty": {"lr": 0.2},
}


def is_installed(name):
    """Say whether what a method needs is here: the solver of nash_mtl is in no other extra."""
    return name not in AGGREGATORS or all(map(find_spec, AGGREGATORS[name].needs))


INSTALLED = [name for name in BALANCING_METHODS if is_installed(name)]
STEPS = 5
ROWS = 12


def batch(step):
    """Step 0: only the first two rows, so one worker of two, know A. Step 1: nobody knows C."""
    rng = np.random.default_rng(step)
    labels = {
        "A": torch.from_numpy(rng.integers(0, 4, ROWS)),
        "B": torch.from_numpy(rng.integers(-1, 2, (ROWS, 3))),
        "C": torch.from_numpy(rng.integers(-1, 3, ROWS)),
    }
    labels["A"][2:] = -1
    if step == 1:
        labels["C"][:] = -1
    return torch.from_numpy(rng.normal(size=(ROWS, 8))).float(), labels


def network_and_balancer(name, dtype=torch.float32):
    with seeded_init(5):
        backbone, features = mlp((8,), hidden=(16, 12))
        network = MultiTaskNetwork(backbone, features, [A, B, C]).to(dtype)
    return network, balancer_of(network, name)


def balancer_of(network, name):
    shared, others = network.backbone.parameters(), network.heads.parameters()
    return build_balancer(name, JOINT.objective_names, shared, others, seed=7, **OPTIONS.get(name, {}))


def gradients(network, balancer, step, rows=slice(None), bf16=False):
    """Run one step's backward pass; returns the gradients by parameter's name."""
    network.zero_grad(set_to_none=True)
    x, labels = batch(step)
    dtype = next(network.parameters()).dtype
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        value = JOINT(network(x[rows].to(dtype)), {task: y[rows] for task, y in labels.items()})
    balancer.backward(value)
    return {key.removeprefix("module."): p.grad.clone() for key, p in network.named_parameters()}


def trained(name, rank=0, workers=1, bf16=False, steps=STEPS):
    """Train by plain SGD; returns every step's gradients, the weights at the end, and the balancer's state."""
    network, balancer = network_and_balancer(name)
    model = torch.nn.parallel.DistributedDataParallel(network) if workers > 1 else network
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    rows = slice(rank * ROWS // workers, (rank + 1) * ROWS // workers)
    found = {}
    for step in range(steps):
        of_step = gradients(model, balancer, step, rows, bf16)
        found |= {f"step {step} {key}": gradient for key, gradient in of_step.items()}
        optimizer.step()
    found |= {f"weight {key}": p.detach().clone() for key, p in network.named_parameters()}
    return found | {f"state {key}": tensor for key, tensor in balancer.state_dict().items()}


def train_each(rank, folder):
    """Train by every method as one of two workers; write what :func:`trained` returns."""
    for name in INSTALLED:
        for bf16 in (False, True):
            safetensors.torch.save_file(trained(name, rank, 2, bf16), folder / f"{name}-{bf16}-{rank}")
