"""How fast this checkout's training step is beside another's, an older commit's: in turns, by processor time.

    git worktree add ../before COMMIT
    python tests/benchmarks/against_checkout.py ../before --pairs 0 1 6

A step is forward, losses, backward, AdamW and the estimate of trust of the small CNN on 32x32 images, on one thread,
supervised alone (0 pairs) or with DM and SCA between one task and as many others. Both checkouts run in processes of
their own, one at a time. Printed are the quartiles over rounds of this checkout's time over the other's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path


def steps_on_request(pairs: int, rows: int) -> None:
    """Take as many steps as each line of the standard input says; print the seconds of processor they took."""
    import torch
    from related_tasks import noise_batch, related_tasks

    from mtlcore import (
        HeadInputs,
        JointLoss,
        MultiTaskNetwork,
        RelatednessTrust,
        head_features,
        seeded_init,
        small_cnn,
    )

    torch.set_num_threads(1)
    shape = (3, 32, 32)
    tasks, related = related_tasks(max(1, pairs), pairs)
    with seeded_init(0):
        network = MultiTaskNetwork(*small_cnn(shape), tasks).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    joint_loss = JointLoss(tasks, related)
    trust = RelatednessTrust([pair.relatedness for pair in related], head_features(network.heads)) if related else None
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    x, labels = noise_batch(tasks, rows, shape)
    x = x.contiguous(memory_format=torch.channels_last)
    with HeadInputs(network.heads) as inputs:
        for line in sys.stdin:
            begun = time.process_time()
            for _ in range(int(line)):
                value = joint_loss(network(x), labels)
                optimizer.zero_grad(set_to_none=True)
                value.loss.backward()
                optimizer.step()
                if trust:
                    trust.observe(inputs.last, labels)
            print(time.process_time() - begun, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="the folder of another checkout")
    parser.add_argument("--pairs", type=int, nargs="+", default=[0, 1, 6])
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--steps", type=int, default=6, help="a round's")
    parser.add_argument("--rounds", type=int, default=14)
    given = parser.parse_args()
    here = Path(__file__).parents[2]
    for pairs in given.pairs:
        code = f"import runpy; runpy.run_path({__file__!r})['steps_on_request']({pairs}, {given.rows})"
        both = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                env=os.environ | {"PYTHONPATH": f"{checkout.resolve()}{os.pathsep}{Path(__file__).parent}"},
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            )
            for checkout in (here, given.other)
        ]  # fmt: skip

        def take(process: subprocess.Popen[str], steps: int) -> float:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{steps}\n")
            return float(process.stdout.readline())

        seconds: list[list[float]] = [[], []]
        for round_ in range(-1, given.rounds):  # the first warms up
            for i in (0, 1) if round_ % 2 else (1, 0):
                taken = take(both[i], given.steps)
                if round_ >= 0:
                    seconds[i].append(taken)
        for process in both:
            process.communicate()
        quartiles = statistics.quantiles([a / b for a, b in zip(*seconds, strict=True)], n=4)
        medians = [1000 * statistics.median(of) / given.steps for of in seconds]
        print(f"{pairs} pairs: this over the other {' '.join(f'{q:.3f}' for q in quartiles)}; "
              f"{medians[0]:.1f} over {medians[1]:.1f} ms a step", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
