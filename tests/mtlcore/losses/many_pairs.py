"""Problems of many tasks and pairs of all kinds, and the operations that a computation sends to a device."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtlcore import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    Multiclass,
    Multilabel,
    Relatedness,
    RelatedPair,
    SoftCoAnnotation,
)

# What looks at a value on the host, or has a shape that depends on values.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "masked_scatter", "is_nonzero", "equal.default")


def a_table(draw, rows, columns, multiclass, unknown=0.1):
    if multiclass:
        table = draw.dirichlet(np.full(columns, 0.3), size=rows)
        table[draw.random(rows) < unknown] = np.nan
    else:
        table = draw.choice([0.0, 1.0, 0.3, 0.9], size=(rows, columns), p=[0.35, 0.3, 0.2, 0.15])
        table[draw.random((rows, columns)) < unknown] = np.nan
    return torch.from_numpy(table)


class ManyPairs:
    """Pairs of hub tasks with others, the sizes of all different; every hub is related to ``pairs`` tasks.

    Args:
        pairs: how many.
        seed: of everything.
        kinds: of the others, in turn: ``multilabel`` or ``multiclass``.
        hub: the kind of the task that all are related from.
        losses: of each pair.
        rows: of the batch.
        same_size: whether the others all have five outputs.
    """

    def __init__(
        self,
        pairs,
        seed=0,
        kinds=("multilabel", "multiclass"),
        hub="multiclass",
        losses=None,
        rows=9,
        same_size=False,
        unknown=0.1,
        dtype=torch.float64,
        scale=1.0,
    ):
        draw = np.random.Generator(np.random.PCG64(seed))
        kind_of = {"multilabel": Multilabel, "multiclass": Multiclass}
        A = kind_of[hub]("A", tuple(f"a{i}" for i in range(6)))
        self.tasks, self.pairs = [A], []
        for i in range(pairs):
            size = 5 if same_size else int(draw.integers(2, 8))
            B = kind_of[kinds[i % len(kinds)]](f"B{i}", tuple(f"b{j}" for j in range(size)))
            self.tasks.append(B)
            table = a_table(draw, 6, size, isinstance(B, Multiclass), unknown)
            prior = tuple(draw.dirichlet(np.ones(6))) if hub == "multiclass" else None
            settings = losses(i, prior) if losses else every_loss(i, prior)
            self.pairs.append(RelatedPair(Relatedness(A, B, table), *settings))
        self.joint = JointLoss(self.tasks, self.pairs, {"A": 2.0})
        self.logits = {
            task.name: torch.from_numpy(draw.normal(size=(rows, len(task.outputs))) * scale).to(dtype).requires_grad_()
            for task in self.tasks
        }
        self.labels, self.partners = (
            {
                task.name: torch.from_numpy(
                    draw.integers(-1, len(task.outputs), size=rows)
                    if isinstance(task, Multiclass)
                    else draw.integers(-1, 2, size=(rows, len(task.outputs)))
                ).to(torch.int64 if isinstance(task, Multiclass) else torch.int8)
                for task in self.tasks
            }
            for _ in range(2)
        )
        self.trust = {
            pair.relatedness.key: torch.from_numpy(draw.choice([0.0, 0.3, 1.0], size=pair.relatedness.table.shape))
            for pair in self.pairs
        }


def every_loss(i, prior):
    """Return the same settings for all pairs, but for weights and priors."""
    return (
        DistributionMatching(0.3 + 0.1 * i, 1.3, "symmetric"),
        SoftCoAnnotation(0.4 + 0.1 * i, 0.5, "full", prior=prior),
        ImpliedLikelihood(0.2),
    )


class Operations(TorchDispatchMode):
    """Notes every operation inside that is no mere view."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not (function.is_view or function._schema.name in VIEWS):
            self.names.append(function.name())
        return function(*args, **(kwargs or {}))


VIEWS = ("aten::detach", "aten::_unsafe_view", "aten::_reshape_alias", "aten::lift_fresh")
