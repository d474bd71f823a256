"""How much longer training takes with the tasks' relatedness measured at its default rate: one step in 100 a task.

    python tests/benchmarks/visible_relatedness_cost.py --steps 400 --rounds 5

Chunks of `--steps` steps with and without the measurement alternate in one process on one thread; the ratio of the
least processor times is printed for an MLP and for a CNN of three stages, and besides what one measured step costs
in plain steps, which says more on a busy machine: the cost at the default rate is that number / (100 x tasks).
"""

import argparse
import time

import torch
from torch import Tensor

from mtlcore import JointLoss, Multiclass, Multilabel, MultiTaskNetwork, RelatednessProbe, mlp, seeded_init, small_cnn

TASKS = (Multiclass("class", tuple(map(str, range(10)))), Multilabel("traits", tuple(map(str, range(12)))))


def chunk(network: MultiTaskNetwork, x: Tensor, labels: dict[str, Tensor], steps: int, every: int) -> float:
    """Train for some steps, measured one in ``every`` (0: none); return seconds of its processor."""
    joint_loss, probe = JointLoss(TASKS), RelatednessProbe(network, TASKS)
    optimizer = torch.optim.AdamW(network.parameters())
    begun = time.process_time()
    for step in range(steps):
        with probe.reading(every > 0 and step % every == 0):
            logits = network(x)
        value = joint_loss(logits, labels)
        probe.measure(step, logits, labels)
        optimizer.zero_grad(set_to_none=True)
        value.loss.backward()
        optimizer.step()
    assert len(probe.measured) == (-(-steps // every) if every else 0)
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    every, random = 100 * len(TASKS), torch.Generator().manual_seed(0)
    for name, shape, build in (("mlp", (1, 8, 8), lambda s: mlp(s, (256, 256))), ("small_cnn", (3, 32, 32), small_cnn)):
        with seeded_init(0):
            network = MultiTaskNetwork(*build(shape), TASKS)
        x = torch.randn(given.batch_size, *shape, generator=random)
        labels = {
            "class": torch.randint(-1, 10, (given.batch_size,), generator=random),
            "traits": torch.randint(-1, 2, (given.batch_size, 12), generator=random),
        }
        chunk(network, x, labels, 20, 1)
        plain, measured, each = [], [], []
        for _ in range(given.rounds):
            plain.append(chunk(network, x, labels, given.steps, 0))
            measured.append(chunk(network, x, labels, given.steps, every))
            each.append(chunk(network, x, labels, max(1, given.steps // 10), 1))
        step = min(plain) / given.steps
        extra = min(each) / max(1, given.steps // 10) / step - 1
        print(
            f"{name}: a step {1000 * step:.2f} ms; with / without, one step in {every} measured: "
            f"{min(measured) / min(plain):.4f}; "
            f"a measured step costs {extra:.2f} steps more, {100 * extra / every:.2f} % at that rate"
        )


if __name__ == "__main__":
    main()
