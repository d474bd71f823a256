"""What distribution matching and soft co-annotation add to a training step of a ResNet-18, in time and in memory.

    python tests/benchmarks/matching_cost.py --rounds 15

A step is forward, losses, backward and AdamW of ``resnet_small`` with ResNet-18's stages (four of two blocks, 64 to
512 channels, 11 M parameters, GroupNorm, the 3x3 stem of small images) on 32 images of 32x32: 0.56 G
multiply-adds an image forward, under a third of the 1.8 G of an ImageNet ResNet-18 at 224x224, beside which the
losses cost three times less. ``--image 64`` makes it 2.2 G. Half of the images are annotated for each task.

Steps without any pair, with DM and SCA in both directions, and with the estimate of trust besides alternate in one
process on one thread, in an order that turns; times are of the processor, which other programs disturb least. Printed
are the median and the quartiles of the ratios of neighbouring steps, then every piece of the losses alone, forward
and backward, and its share of a step, which is the steadier number on a busy machine. Last: the bytes that the graph
of the losses keeps for its backward pass, by batch size.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mtlcore import (
    DistributionMatching,
    JointLoss,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    Relatedness,
    RelatednessTrust,
    RelatedPair,
    SoftCoAnnotation,
    co_annotation_to_classes,
    co_annotation_to_labels,
    distribution_matching_loss,
    implied_likelihood_loss,
    resnet_small,
    seeded_init,
    supervised_loss,
)
from mtlcore.losses.loss_term import LossTerm

Labels = dict[str, Tensor]


def a_relatedness(classes: int, labels: int, random: torch.Generator) -> Relatedness:
    """Return a table in which a tenth of the cells hold surely and a fifth are fractions; none is unknown."""
    A = Multiclass("class", tuple(f"c{i}" for i in range(classes)))
    B = Multilabel("attributes", tuple(f"l{i}" for i in range(labels)))
    kind, fraction = torch.rand(2, classes, labels, generator=random, dtype=torch.float64)
    table = torch.where(kind < 0.1, 1.0, torch.where(kind < 0.3, (fraction * 100).round() / 100, 0.0))
    return Relatedness(A, B, table)


def some_labels(R: Relatedness, inputs: int, random: torch.Generator) -> Labels:
    """Return labels of which the first half of the inputs has A's and the second half B's."""
    C, L = R.table.shape
    y_A = torch.randint(0, C, (inputs,), generator=random)
    y_B = torch.randint(0, 2, (inputs, L), generator=random)
    y_A[inputs // 2 :], y_B[: inputs // 2] = -1, -1
    return {"class": y_A, "attributes": y_B}


def seconds(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4f} ({low:.4f} to {high:.4f})"


def kept_bytes(work: Callable[[], object]) -> int:
    """Return the bytes of all tensors that the graph built by ``work`` saves, each storage counted once."""
    saved: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        alive.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive.append(work())
    return sum(saved.values())


def steps(R: Relatedness, batch: int, picture: int, rounds: int) -> float:
    """Print the ratios of whole steps; return the seconds of one without pairs."""
    random = torch.Generator().manual_seed(0)
    tasks = (R.source, R.target)
    with seeded_init(0):
        network = MultiTaskNetwork(*resnet_small((3, picture, picture), (64, 128, 256, 512)), tasks)
    parameters = sum(p.numel() for p in network.parameters())
    x, labels = torch.randn(batch, 3, picture, picture, generator=random), some_labels(R, batch, random)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    pair = RelatedPair(R, dm=DistributionMatching(0.1), sca=SoftCoAnnotation(1.0, 0.1))
    trust = RelatednessTrust([R], {"class": 512, "attributes": 512})
    plain, paired = JointLoss(tasks), JointLoss(tasks, [pair])

    def step(joint: JointLoss, trusted: bool) -> None:
        h = network.backbone(x)
        logits = {name: network.heads[f"{name}_head"](h) for name in labels}
        loss = joint(logits, labels, trust.by_edge() if trusted else None).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if trusted:
            trust.observe(dict.fromkeys(labels, h), labels)

    variants = {
        "nothing": lambda: step(plain, False),
        "DM + SCA": lambda: step(paired, False),
        "DM + SCA + trust": lambda: step(paired, True),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        order = list(variants)
        for name in order[i % 3 :] + order[: i % 3]:
            spent = seconds(variants[name])
            if i:  # the first round warms up
                times[name].append(spent)
    without = statistics.median(times["nothing"])
    print(f"  a step without pairs: {1000 * without:.0f} ms ({parameters / 1e6:.1f} M parameters)")
    for name in ("DM + SCA", "DM + SCA + trust"):
        print(f"  {name}: x {quartiles([a / b for a, b in zip(times[name], times['nothing'], strict=True)])}")
    return without


def pieces(R: Relatedness, batch: int, rounds: int, step: float) -> None:
    """Print what each piece costs alone, forward and backward, in ms and in hundredths of a step."""
    random = torch.Generator().manual_seed(1)
    y = some_labels(R, batch, random)
    z = {t.name: torch.randn(batch, len(t.outputs), generator=random).requires_grad_() for t in (R.source, R.target)}
    z_A, z_B, y_A, y_B = z["class"], z["attributes"], y["class"], y["attributes"]
    h = torch.randn(batch, 512, generator=random)
    trust = RelatednessTrust([R], {"class": 512, "attributes": 512})
    tasks, pair = (R.source, R.target), RelatedPair(R, DistributionMatching(0.1), SoftCoAnnotation(1.0, 0.1))
    plain, paired = JointLoss(tasks), JointLoss(tasks, [pair])
    rows = torch.full((len(R.table),), 0.5)

    def both(*terms: LossTerm) -> None:
        torch.autograd.backward([term.total for term in terms])

    work: dict[str, Callable[[], object]] = {
        "supervised": lambda: both(supervised_loss(z_A, y_A, R.source), supervised_loss(z_B, y_B, R.target)),
        "DM": lambda: both(distribution_matching_loss(z_A, z_B, R)),
        "DM with trust": lambda: both(distribution_matching_loss(z_A, z_B, R, trust=rows)),
        "SCA to classes": lambda: both(co_annotation_to_classes(z_A, y_B, R, tau_co=0.1)),
        "SCA to labels": lambda: both(co_annotation_to_labels(z_B, y_A, R)),
        "ILL": lambda: both(implied_likelihood_loss(z_A, y_B, R)),
        "trust, observe": lambda: trust.observe(dict.fromkeys(y, h), y),
        "trust, by_edge": trust.by_edge,
        "JointLoss without pairs": lambda: plain(z, y).loss.backward(),
        "JointLoss, DM + SCA": lambda: paired(z, y).loss.backward(),
    }
    for name, piece in work.items():
        times = [seconds(piece) for _ in range(10 * rounds + 3)][3:]
        middle = statistics.median(times)
        print(f"  {name:24} {100 * middle / step:8.3f} % of a step; ms {quartiles([1000 * t for t in times])}")


def memory(R: Relatedness, batches: list[int]) -> None:
    pair = RelatedPair(R, dm=DistributionMatching(0.1), sca=SoftCoAnnotation(1.0, 0.1))
    joint = JointLoss((R.source, R.target), [pair])
    for size in (1.0, 1e4):
        for batch in batches:
            random = torch.Generator().manual_seed(2)
            y = some_labels(R, batch, random)
            z = {
                t.name: (size * torch.randn(batch, len(t.outputs), generator=random)).requires_grad_()
                for t in (R.source, R.target)
            }
            kept = kept_bytes(lambda z=z, y=y: joint(z, y).loss)
            print(f"  logits of about {size:g}, batch {batch:4}: {kept / 2**20:8.2f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--picture", type=int, default=32, help="height and width in pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-steps", action="store_true", help="leave out the whole steps")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for classes, labels in ((7, 17), (1000, 312)):
        print(f"{classes} classes x {labels} labels, batch {given.batch_size} of {given.picture}x{given.picture}:")
        R = a_relatedness(classes, labels, torch.Generator().manual_seed(3))
        step = 1.0 if given.no_steps else steps(R, given.batch_size, given.picture, given.rounds)
        pieces(R, given.batch_size, given.rounds, step)
    print("kept for the backward pass of the losses at 1000 x 312:")
    memory(R, [32, 64, 128])


if __name__ == "__main__":
    main()
