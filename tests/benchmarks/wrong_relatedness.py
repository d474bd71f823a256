"""What a wrong relatedness table costs, with and without trust: CIFAR-10, eight tables, two kinds of network.

    python tests/benchmarks/wrong_relatedness.py --data-root ../shared/data/cifar10-images.zip --results wrong.jsonl

`cnn` is a small CNN from scratch; `features` an MLP on fixed features, of one layer of random patches. 300 images are
labelled with the class, 8,000 others with eight attributes, 2,000 are for the test. All rows differ, and some are
nested: automobile's attributes are a subset of truck's. Labels are the right table's throughout: only the table that
the losses use is wrong. Prints class accuracy and the attributes' macro-F1 of naive training and of DM and ILL, trust
off and on, with the difference to naive in points in brackets. What was measured is appended to --results at once, and
is not measured again.
"""

import argparse
import io
import json
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatednessTrust,
    RelatedPair,
    task_metrics,
)
from mtlcore.networks import small_cnn

ROWS = {
    "airplane": "flies metal large",
    "automobile": "wheels metal",
    "bird": "animal flies",
    "cat": "animal furry pet",
    "deer": "animal furry hooves",
    "dog": "animal furry pet large",
    "frog": "animal",
    "horse": "animal furry hooves large",
    "ship": "metal large",
    "truck": "wheels metal large",
}
A = Multiclass("class", tuple(ROWS))
B = Multilabel("attributes", ("animal", "flies", "furry", "hooves", "large", "metal", "pet", "wheels"))
TRUTH = torch.tensor([[float(label in row.split()) for label in B.labels] for row in ROWS.values()])
LABELLED, ATTRIBUTED, OTHERS, TEST = 300, 8000, 500, 2000
STEPS, BATCH, OF_CLASS = 400, 128, 32
MATCHING = {"dm": 0.3, "ill": 3.0}
WARMUP_STEPS = 100  # in which these weights rise, as training.matching has it by default
HIGH, LOW = 0.95, 0.05


def tables() -> dict[str, Tensor]:
    """Return the right table and seven wrong ones by name, shape (C, L)."""
    draw = torch.Generator().manual_seed(0)
    right = torch.where(TRUTH > 0, HIGH, LOW)
    found = {"right": right}
    found["one wrong row"] = _with_rows(right, {2: 9})
    found["flattened to .4, .6"] = torch.where(TRUTH > 0, 0.6, 0.4)
    found["five rows swapped"] = _with_rows(right, {0: 2, 2: 4, 4: 6, 6: 8, 8: 0})
    order = [1, 3, 0, 5, 7, 8, 9, 2, 6, 4]
    found["all rows shuffled"] = right[order]
    one_cell = right.clone()
    columns = torch.randint(len(B.labels), (len(right),), generator=draw)
    one_cell[range(len(right)), columns] = 1 - one_cell[range(len(right)), columns]
    found["one wrong cell a row"] = one_cell
    found["a column inverted"] = _inverted(right, 0)
    found["column and row"] = _inverted(_with_rows(right, {3: 8}), 5)
    return found


def _with_rows(table: Tensor, sources: Mapping[int, int]) -> Tensor:
    changed = table.clone()
    for row, source in sources.items():
        changed[row] = table[source]
    return changed


def _inverted(table: Tensor, column: int) -> Tensor:
    changed = table.clone()
    changed[:, column] = 1 - changed[:, column]
    return changed


def images(archive: Path, cache: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training images, uint8, shape (N, 3, 32, 32), and their classes; and test images and theirs."""
    file = cache / "wrong_relatedness_images.npz"
    if not file.exists():
        found = {}
        with zipfile.ZipFile(archive) as opened:
            names = sorted(name for name in opened.namelist() if name.endswith(".jpg"))
            for split, number in (("train", LABELLED + ATTRIBUTED + OTHERS), ("test", TEST)):
                of_split = [name for name in names if f"/{split}/" in name]
                order = torch.randperm(len(of_split), generator=torch.Generator().manual_seed(7))[:number].tolist()
                pixels = [np.asarray(Image.open(io.BytesIO(opened.read(of_split[i])))) for i in order]
                found[split] = np.stack(pixels).transpose(0, 3, 1, 2)
                found[f"{split}_y"] = np.array([A.classes.index(of_split[i].split("/")[-2]) for i in order])
        np.savez(file, **found)
    read = np.load(file)
    return tuple(torch.from_numpy(read[name]) for name in ("train", "train_y", "test", "test_y"))  # type: ignore[return-value]


def scaled(x: Tensor) -> Tensor:
    """Return images as float32, roughly in [-2, 2]."""
    return (x.float() / 255 - 0.47) / 0.25


def frozen_features(x: Tensor, x_test: Tensor, cache: Path) -> tuple[Tensor, Tensor]:
    """Return features that nothing was trained for, of training and test images, float32, shape (N, 1024).

    A. Coates, A. Ng, H. Lee, "An analysis of single-layer networks in unsupervised feature learning", AISTATS 2011:
    whitened random patches of other images as filters, both signs, pooled over quarters of the image.
    """
    file = cache / "wrong_relatedness_features.npz"
    if not file.exists():
        draw = torch.Generator().manual_seed(11)
        others = scaled(x[LABELLED + ATTRIBUTED :])
        patches = F.unfold(others[:400], 6, stride=3).transpose(1, 2).reshape(-1, 108)
        patches = patches[torch.randperm(len(patches), generator=draw)[:20000]]
        patches = (patches - patches.mean(1, keepdim=True)) / (patches.var(1, keepdim=True) + 0.05).sqrt()
        mean = patches.mean(0)
        values, vectors = torch.linalg.eigh((patches - mean).t() @ (patches - mean) / len(patches))
        whitening = vectors @ torch.diag((values + 0.1).rsqrt()) @ vectors.t()
        filters = F.normalize((patches[:128] - mean) @ whitening, dim=1) @ whitening
        weight, bias = filters.reshape(-1, 3, 6, 6), -(filters @ mean)

        def features_of(images: Tensor) -> Tensor:
            maps = F.conv2d(scaled(images), weight, bias, stride=2)
            both = torch.cat([F.relu(maps - 0.5), F.relu(-maps - 0.5)], dim=1)
            return F.adaptive_avg_pool2d(both, 2).flatten(1)

        parts = [
            torch.cat([features_of(p) for p in whole.split(200)]) for whole in (x[: LABELLED + ATTRIBUTED], x_test)
        ]
        middle, spread = parts[0].mean(0), parts[0].std(0) + 1e-3
        np.savez(file, train=((parts[0] - middle) / spread).numpy(), test=((parts[1] - middle) / spread).numpy())
    read = np.load(file)
    return torch.from_numpy(read["train"]), torch.from_numpy(read["test"])


def network_for(kind: str, x: Tensor) -> tuple[nn.Module, int, Callable[[Tensor], Tensor]]:
    """Return the shared layers, their width, and how a batch is prepared for them."""
    if kind == "features":
        return nn.Sequential(nn.Linear(x.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()), 128, lambda b: b
    body, width = small_cnn((3, 32, 32), widths=(16, 32, 64))
    return body.to(memory_format=torch.channels_last), width, scaled


def trained(
    kind: str, table: Tensor | None, with_trust: bool, seed: int, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor
) -> dict[str, object]:
    """Train once; return scores, and of an estimated trust how many wrong and right cells it doubts.

    ``table`` None is naive training.
    """
    torch.manual_seed(seed)
    body, width, prepared = network_for(kind, x)
    heads = nn.ModuleDict({task.name: nn.Linear(width, len(task.outputs)) for task in (A, B)})
    pairs, trust = [], None
    if table is not None:
        R = Relatedness(A, B, table.double())
        pairs = [RelatedPair(R, dm=DistributionMatching(MATCHING["dm"]), ill=ImpliedLikelihood(MATCHING["ill"]))]
        if with_trust:
            trust = RelatednessTrust([R], {A.name: width, B.name: width}, rows={A.name: LABELLED, B.name: ATTRIBUTED})
    joint = JointLoss([A, B], pairs, {B.name: float(len(B.labels))})
    optimizer = torch.optim.AdamW([*body.parameters(), *heads.parameters()], lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    # Which images are labelled depends on the seed; the frozen features have seen none of them.
    order = torch.randperm(LABELLED + ATTRIBUTED)
    of_A, of_B = order[:LABELLED], order[LABELLED:]
    rows_A, rows_B = _endless(of_A, OF_CLASS), _endless(of_B, BATCH - OF_CLASS)
    missing_A, missing_B = torch.full((BATCH - OF_CLASS,), -1), torch.full((OF_CLASS, len(B.labels)), -1)
    for step in range(STEPS):
        a, b = next(rows_A), next(rows_B)
        labels = {A.name: torch.cat([y[a], missing_A]), B.name: torch.cat([missing_B, TRUTH[y[b]].long()])}
        h = body(prepared(x[torch.cat([a, b])])).flatten(1)
        logits = {name: head(h) for name, head in heads.items()}
        optimizer.zero_grad()
        coupling = min(1.0, (step + 1) / (WARMUP_STEPS + 1))
        joint(logits, labels, trust.by_edge() if trust else None, coupling=coupling).loss.backward()
        optimizer.step()
        schedule.step()
        if trust:
            trust.observe({A.name: h, B.name: h}, labels)
    with torch.no_grad():
        h = torch.cat([body(prepared(part)).flatten(1) for part in x_test.split(500)])
        accuracy = (heads[A.name](h).argmax(1) == y_test).double().mean().item()
        f1 = task_metrics(heads[B.name](h), TRUTH[y_test].long(), B)["macro_f1"]
    found: dict[str, object] = {"accuracy": accuracy, "macro_f1": float(f1)}
    if trust is not None and table is not None:
        cells = trust.by_edge()["class->attributes"]
        wrong = (table > 0.5) != (TRUTH > 0.5)
        found |= {
            "wrong": int(wrong.sum()), "doubted": int((cells[wrong] < 0.5).sum()),
            "false_alarms": int((cells[~wrong] < 0.5).sum()), "trust_of_right": float(cells[~wrong].mean()),
        }  # fmt: skip
    return found


def _endless(rows: Tensor, size: int):  # type: ignore[no-untyped-def]
    left = rows[:0]
    while True:
        while len(left) < size:
            left = torch.cat([left, rows[torch.randperm(len(rows))]])
        yield left[:size]
        left = left[size:]


def printed(measured: Mapping[tuple[str, str, str, int], dict[str, float]], kinds: list[str]) -> str:
    """Return the table in Markdown: mean over the seeds that both arms have."""

    def mean_of(kind: str, table: str, arm: str, metric: str) -> str:
        pairs = [
            (found[metric], measured[kind, "", "naive", key[3]][metric])
            for key, found in measured.items()
            if key[:3] == (kind, table, arm) and (kind, "", "naive", key[3]) in measured
        ]
        if not pairs:
            return "–"
        value = statistics.mean(a for a, _ in pairs)
        return f"{value:.3f} ({100 * statistics.mean(a - b for a, b in pairs):+.1f})"

    lines = [
        "| network | table | class: off | on | attributes: off | on | doubted of wrong, of right |",
        "|---" * 7 + "|",
    ]
    for kind in kinds:
        naive = [found for key, found in measured.items() if key[0] == kind and key[2] == "naive"]
        if not naive:
            continue
        accuracy, f1 = (statistics.mean(found[m] for found in naive) for m in ("accuracy", "macro_f1"))
        lines.append(f"| {kind} | naive, {len(naive)} seeds | {accuracy:.3f} | | {f1:.3f} | | |")
        for table in tables():
            on = [found for key, found in measured.items() if key[:3] == (kind, table, "on")]
            seen = ""
            if on:
                wrong, doubted, false = (sum(found[k] for found in on) for k in ("wrong", "doubted", "false_alarms"))
                seen = f"{doubted} of {wrong}, {false} of {len(on) * TRUTH.numel() - wrong}"
            cells = [mean_of(kind, table, arm, m) for m in ("accuracy", "macro_f1") for arm in ("off", "on")]
            lines.append(f"| | {table} | {' | '.join(cells)} | {seen} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="the zip archive of CIFAR-10's images")
    parser.add_argument("--results", type=Path, required=True, help="JSON lines: what was measured; appended to")
    parser.add_argument("--cache", type=Path, help="folder for decoded images and features; beside --results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--kinds", nargs="+", default=["features", "cnn"], choices=["features", "cnn"])
    parser.add_argument("--tables", nargs="+", default=list(tables()), choices=list(tables()))
    parser.add_argument("--arms", nargs="+", default=["naive", "off", "on"], choices=["naive", "off", "on"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    cache = given.cache or given.results.resolve().parent
    x, y, x_test, y_test = images(given.data_root, cache)
    inputs = {"cnn": (x, x_test)}
    if "features" in given.kinds:
        inputs["features"] = frozen_features(x, x_test, cache)

    measured = {}
    if given.results.exists():
        for line in given.results.read_text().splitlines():
            found = json.loads(line)
            measured[found["kind"], found["table"], found["arm"], found["seed"]] = found
    wanted = [
        (kind, table, arm, seed)
        for seed in given.seeds
        for kind in given.kinds
        for table, arm in [("", "naive"), *((t, a) for t in given.tables for a in ("off", "on"))]
        if arm in given.arms
    ]
    for key in wanted:
        if key in measured:
            continue
        kind, table, arm, seed = key
        begun = time.perf_counter()
        x_train, x_of_test = inputs[kind]
        found = trained(kind, tables()[table] if table else None, arm == "on", seed, x_train, y, x_of_test, y_test)
        measured[key] = {"kind": kind, "table": table, "arm": arm, "seed": seed, **found}
        with given.results.open("a") as file:
            file.write(json.dumps(measured[key]) + "\n")
        print(*key, found, f"{time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(printed(measured, given.kinds))


if __name__ == "__main__":
    main()
