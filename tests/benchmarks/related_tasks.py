"""A task of classes related to tasks of labels, and a batch of noise in which each row is labelled for one of them."""

import torch
from torch import Tensor

from mtlcore import DistributionMatching, Multiclass, Multilabel, Relatedness, RelatedPair, SoftCoAnnotation


def related_tasks(others: int, pairs: int) -> tuple[list[Multiclass | Multilabel], list[RelatedPair]]:
    """Return ten classes and tasks of twelve labels, and the first of these in pairs with the classes, DM and SCA.

    Args:
        others: how many tasks of labels.
        pairs: how many of them are related.
    """
    hub = Multiclass("hub", tuple(f"c{i}" for i in range(10)))
    labels = [Multilabel(f"labels{i}", tuple(f"l{j}" for j in range(12))) for i in range(others)]
    table = torch.zeros(10, 12, dtype=torch.float64)
    table[range(10), range(10)] = table[range(10), range(2, 12)] = 1.0
    losses = DistributionMatching(0.3), SoftCoAnnotation(1.0, 0.1)
    return [hub, *labels], [RelatedPair(Relatedness(hub, other, table), *losses) for other in labels[:pairs]]


def noise_batch(
    tasks: list[Multiclass | Multilabel], rows: int, shape: tuple[int, int, int]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return inputs, float32 (rows, ...), and labels by task; as many rows for each task, one after the other."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(rows, *shape, generator=draw)
    hub, *others = tasks
    labels = {hub.name: torch.randint(0, 10, (rows,), generator=draw)}
    labels |= {of.name: torch.randint(0, 2, (rows, 12), generator=draw, dtype=torch.int8) for of in others}
    share = rows // len(tasks)
    for i, y in enumerate(labels.values()):
        mine = torch.zeros(rows, dtype=torch.bool)
        mine[i * share : (i + 1) * share] = True
        y[~mine] = -1
    return x, labels
