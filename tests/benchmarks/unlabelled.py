"""What rows that a task does not label add to the couplings: digits, or CIFAR-10 with a small CNN, in a plain loop.

    python tests/benchmarks/unlabelled.py digits --seeds 3
    python tests/benchmarks/unlabelled.py cifar10 --archive ../shared/data/cifar10-images.zip --seeds 1 fixed join

Prints a line for every variant: class accuracy, the attributes' macro-F1 and the class's calibration error on
validation images, the mean over seeds; how many pseudo-labels of the class are right, and how many of the rows without
a class have one, in the last quarter of training; and each seed's accuracy. All variants take as many steps of as many
rows. Those whose name begins with `naive+` train without couplings. One thread.
"""

import argparse
import io
import statistics
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    MovingAverage,
    Multiclass,
    Multilabel,
    MultiTaskNetwork,
    PseudoLabelling,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
    UnlabelledLoss,
    build_backbone,
    pseudo_labels,
    seeded_init,
    task_metrics,
)
from pipelines.batches.augmentation import alter, alterations, strong_draws
from pipelines.case.data import PictureInput
from pipelines.case.load import load_case
from pipelines.case.training import Augmentation


@dataclass(frozen=True)
class Variant:
    """What is added to the couplings."""

    pseudo: PseudoLabelling = PseudoLabelling()  # noqa: RUF009
    consistency: float = 0.0
    decay: float = 0.0
    evaluates_average: bool = False
    warm_up: float = 0.0


def labels_by(
    threshold: float = 0.95,
    relatedness: Literal["ignore", "agree", "join"] = "ignore",
    thresholds: Literal["fixed", "flexible"] = "fixed",
) -> PseudoLabelling:
    """Return pseudo-labels of weight 1."""
    return PseudoLabelling(1.0, threshold, thresholds, relatedness)


VARIANTS = {
    "nothing": Variant(),
    "warm-up": Variant(warm_up=0.25),
    "average": Variant(decay=0.99, evaluates_average=True),
    "fixed": Variant(labels_by()),
    "fixed.8": Variant(labels_by(0.8)),
    "flexible": Variant(labels_by(thresholds="flexible")),
    "agree": Variant(labels_by(relatedness="agree")),
    "join": Variant(labels_by(relatedness="join")),
    "join.8": Variant(labels_by(0.8, "join")),
    "consistency": Variant(consistency=5.0, decay=0.99),
    "join+consistency": Variant(labels_by(relatedness="join"), consistency=5.0, decay=0.99),
    "all": Variant(labels_by(relatedness="join", thresholds="flexible"), 5.0, 0.99, True, 0.1),
}


@dataclass(frozen=True)
class Problem:
    """Images, their classes, and how they are trained on: the first rows have the class, the next ones attributes."""

    x: Tensor
    y: Tensor
    table: Relatedness
    with_class: int
    with_attributes: int
    backbone: tuple[str, dict[str, Any]]
    lr: float
    attribute_weight: float
    couplings: dict[str, Any]
    strong: Augmentation
    rows: tuple[int, int] = (16, 48)
    steps: int = 300


def digits() -> Problem:
    """Return scikit-learn's digits with the shipped case's table; the first 997 as it splits them."""
    from sklearn.datasets import load_digits

    from tests.mtlcore.small_digits import R

    data = load_digits()
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(data.target))[:1297]
    x = torch.tensor(data.images[order] * (255 / 16), dtype=torch.float32).round().to(torch.uint8)[:, None]
    couplings = {"ill": ImpliedLikelihood(3.0), "dm": DistributionMatching(0.3)}
    strong = Augmentation(crop=1, erasing=0.5, brightness=0.3, contrast=0.3)
    y = torch.tensor(data.target[order])
    return Problem(x, y, R, 50, 947, ("mlp", {"widths": (256, 256)}), 3e-3, 1.0, couplings, strong)


def cifar10(archive: Path) -> Problem:
    """Return images of CIFAR-10's training split with the shipped case's table."""
    from PIL import Image

    case = load_case("cifar10", [f"data_root={archive}"])
    classes, attributes = case.tasks["class"].outputs, case.tasks["attributes"].outputs  # type: ignore[union-attr]
    A, B = Multiclass("class", tuple(classes)), Multilabel("attributes", tuple(attributes))
    table = Relatedness.from_rows(A, B, case.relatedness[0].table or {})
    with zipfile.ZipFile(archive) as opened:
        names = sorted(name for name in opened.namelist() if "/train/" in name and name.endswith(".jpg"))
        names = [names[i] for i in np.random.Generator(np.random.PCG64(0)).permutation(len(names))[:11300]]
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(opened.read(name))).convert("RGB")) for name in names])
    x, y = torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor([classes.index(n.split("/")[-2]) for n in names])
    couplings = {"sca": (3.0, "full"), "dm": DistributionMatching(0.3)}
    strong = Augmentation(flip=0.5, crop=4, brightness=0.4, contrast=0.4, saturation=0.4, erasing=0.5)
    backbone = ("small_cnn", {"widths": (16, 32, 64)})
    return Problem(x, y, table, 300, 8000, backbone, 1e-3, len(attributes), couplings, strong)


def trained(problem: Problem, variant: Variant, seed: int, coupled: bool) -> tuple[float, ...]:
    """Train once; return accuracy, macro-F1, calibration error, right pseudo-labels, rows that have one."""
    p, (A, B) = problem, (problem.table.source, problem.table.target)
    shape, holds = tuple(p.x.shape[1:]), p.table.table.long()
    scale = PictureInput(height=shape[1], width=shape[2], channels=shape[0], mean=0.5, std=0.5)
    n, m = p.with_class, p.with_attributes
    of_class = ((torch.bincount(p.y[:n], minlength=len(A.outputs)) + 1.0) / (n + len(A.outputs))).tolist()
    of_attributes = ((holds[p.y[n : n + m]].sum(dim=0) + 1.0) / (m + 2)).tolist()
    settings = dict(p.couplings)
    if "sca" in settings:
        weight, form = settings["sca"]
        settings["sca"] = SoftCoAnnotation(weight, form=form, prior=tuple(of_class))
    pairs = [RelatedPair(p.table, **settings)] if coupled else []
    joint = JointLoss([A, B], pairs, {B.name: p.attribute_weight})
    priors = {A.name: of_class, B.name: of_attributes}
    unlabelled = UnlabelledLoss(
        [A, B],
        [pair.relatedness for pair in pairs],
        pseudo=variant.pseudo,
        consistency=variant.consistency,
        priors=priors,
    )
    with seeded_init(seed):
        backbone, features = build_backbone(p.backbone[0], shape, **p.backbone[1])
        network = MultiTaskNetwork(backbone, features, [A, B])
    average = MovingAverage(network, variant.decay) if variant.decay else None
    draw = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=p.lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, p.steps)
    right = found = 0
    for step in range(p.steps):
        own = torch.randint(n, (p.rows[0],), generator=draw), torch.randint(n, n + m, (p.rows[1],), generator=draw)
        rows = torch.cat(own)
        labels = {A.name: p.y[rows].clone(), B.name: holds[p.y[rows]].clone()}
        labels[A.name][p.rows[0] :], labels[B.name][: p.rows[0]] = -1, -1
        images = p.x[rows]
        weak = alter(images, None, p.strong, scale)
        beside = None
        if variant.pseudo.weight or variant.consistency:
            columns = alterations(strong_draws(seed, step, 0, rows.numpy()), p.strong, shape)
            both = network(torch.cat([weak, alter(images, columns, p.strong, scale)]))
            logits, strong = (
                {k: z[part] for k, z in both.items()} for part in (slice(len(rows)), slice(len(rows), None))
            )
            with torch.no_grad():
                teacher = average.module(weak) if average and variant.consistency else None
            beside = unlabelled.terms(logits, strong, labels, teacher=teacher)
            if variant.pseudo.weight and step >= p.steps * 3 // 4:
                sure = pseudo_labels(logits[A.name], labels[A.name], A, variant.pseudo.threshold)
                found += int((sure >= 0).sum())
                right += int((sure == p.y[rows]).sum())
        else:
            logits = network(weak)
        coupling = min(1.0, (step + 1) / (variant.warm_up * p.steps + 1))
        value = joint(logits, labels, coupling=coupling, beside=beside)
        optimizer.zero_grad()
        value.loss.backward()
        optimizer.step()
        schedule.step()
        unlabelled.end_step()
        if average:
            average.update(network, step)
    evaluated = average.module if average and variant.evaluates_average else network.eval()
    with torch.no_grad():
        parts = [evaluated(alter(images, None, p.strong, scale)) for images in p.x[n + m :].split(500)]
    y = p.y[n + m :]
    of_a = task_metrics(torch.cat([part[A.name] for part in parts]), y, A)
    of_b = task_metrics(torch.cat([part[B.name] for part in parts]), holds[y], B)
    rows_seen = p.rows[1] * (p.steps - p.steps * 3 // 4)
    return of_a["accuracy"], of_b["macro_f1"], of_a["calibration_error"], right / max(found, 1), found / rows_seen


def main() -> None:
    """Print a line for every variant that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("digits", "cifar10"))
    parser.add_argument("variants", nargs="*", default=[*VARIANTS, "naive+nothing", "naive+fixed", "naive+consistency"])
    parser.add_argument("--archive", type=Path, help="of CIFAR-10, as the shipped case takes it")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    problem = digits() if arguments.data == "digits" else cifar10(arguments.archive)
    for name in arguments.variants:
        begun = time.perf_counter()
        variant = VARIANTS[name.removeprefix("naive+")]
        runs = [trained(problem, variant, seed, not name.startswith("naive+")) for seed in range(arguments.seeds)]
        accuracy, f1, calibration, right, sure = (statistics.mean(column) for column in zip(*runs, strict=True))
        print(
            f"{arguments.data} {name:17} accuracy {accuracy:.3f}  macro-F1 {f1:.3f}  calibration {calibration:.3f}  "
            f"right {right:.3f}  rows {sure:.2f}  [{' '.join(f'{run[0]:.3f}' for run in runs)}]  "
            f"{(time.perf_counter() - begun) / len(runs):.0f} s a run",
            flush=True,
        )


if __name__ == "__main__":
    main()
