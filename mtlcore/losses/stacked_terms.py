"""The terms of the joint loss as few operations, however many tasks and pairs there are.

One gather lays the logits of all tasks out, filled up and stacked by kind; each kind of loss is then computed of a
whole stack. The values are those of the single losses; sums may be rounded otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.columns import NO_CLASS, Spread, alike, flat_labels, label_columns, uses_of
from mtlcore.losses.loss_term import LossTerm, looks_at_values, summed, without_autocast
from mtlcore.losses.related_pair import RelatedPair
from mtlcore.losses.stacked_pairs import LabelSet, StackedTables, stacked
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task


class Layout(NamedTuple):
    """What the terms read that stays the same, on a device.

    Attributes:
        places: the columns of the stacks among those of all logits, int64.
        uses: as :func:`mtlcore.losses.columns.uses_of` returns it.
        label_places: the columns of the stacks among those of all labels, int64.
        filling: 0 and NO_CLASS, what logits are filled up with, shape (1, 2).
        tables: of each stack of pairs.
        trust_places: which cell of the flat trust is which of each stack's, int64.
    """

    places: Tensor
    uses: Tensor
    label_places: Tensor
    filling: Tensor
    tables: tuple[StackedTables, ...]
    trust_places: tuple[Tensor, ...]


class StackedTerms:
    """Computes the supervised terms of all tasks, and those of the pairs from multiclass tasks.

    Args:
        tasks: all of them; those of other kinds than multiclass and multilabel are left to the caller.
        pairs: all of them; those from multilabel tasks, and losses that were added, are left to the caller.
    """

    def __init__(self, tasks: Sequence[Task], pairs: Sequence[RelatedPair]) -> None:
        self._tasks: dict[str, Task] = {task.name: task for task in tasks if isinstance(task, Multiclass | Multilabel)}
        self._pair_stacks = stacked(pairs)
        self._pairs = pairs
        self._task_stacks = [
            [of_kind[i] for i in sorted(stack)]
            for of_kind in (self._of_kind(True), self._of_kind(False))
            for stack in alike([len(task.outputs) for task in of_kind])
        ]
        self.names = [task.name for stack in self._task_stacks for task in stack]
        self.names += [name for stack in self._pair_stacks for _, name, _ in stack.parts]
        self.largest = max((len(stack.pairs) for stack in self._pair_stacks), default=0)
        self._layouts: dict[tuple[torch.device, torch.dtype], tuple[tuple[int, ...], Layout]] = {}
        self._compute: Callable[..., tuple[Tensor, Tensor]] = self._terms

    def compile(self, **options: Any) -> None:
        """Have torch.compile fuse what follows; ``options`` are its own."""
        self._compute = torch.compile(self._terms, dynamic=False, **options)

    def __call__(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None,
        partners: Mapping[str, Tensor] | None = None,
        own: float | Tensor = 1.0,
        count_only: bool = False,
        priors: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return sums and counts of all parts, shape (parts,), in the order of ``names``; arguments as JointLoss's."""
        z = torch.cat([logits[name] for name in self._tasks], dim=1)
        z = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
        layout = self._layout(z.device, z.dtype)
        of_cells = None if trust is None or not self._pair_stacks else self._flat_trust(trust, z)
        if of_cells is not None and looks_at_values(z) and bool((of_cells == 1).all()):
            of_cells = None  # what is trusted throughout takes half the time
        if priors:
            layout = layout._replace(
                tables=tuple(
                    tables._replace(prior=stack.priors(tables.prior, priors))
                    for stack, tables in zip(self._pair_stacks, layout.tables, strict=True)
                )
            )
        tasks = list(self._tasks.values())
        sets = [flat_labels(tasks, of) for of in (labels, partners) if of is not None]
        with without_autocast(z.device):
            return self._compute(z, sets, of_cells, layout, own, count_only)

    def _of_kind(self, multiclass: bool) -> list[Task]:
        return [task for task in self._tasks.values() if isinstance(task, Multiclass) == multiclass]

    def _flat_trust(self, trust: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return the trust of all stacked pairs' cells, one after the other, and a 1."""
        cells = []
        for stack in self._pair_stacks:
            for pair in stack.pairs:
                R, of_pair = pair.relatedness, trust[pair.relatedness.key]
                cells.append((of_pair if of_pair.dim() == 2 else of_pair[:, None].expand(R.table.shape)).reshape(-1))
        flat = torch.cat(cells).to(like)
        return torch.cat([flat, torch.ones_like(flat[:1])])

    def _layout(self, device: torch.device, dtype: torch.dtype) -> Layout:
        tables = [pair.relatedness.table for stack in self._pair_stacks for pair in stack.pairs]
        versions = tuple(0 if table.is_inference() else table._version for table in tables)
        kept = self._layouts.get((device, dtype))
        if kept is None or kept[0] != versions:  # a table that was written into is read anew
            with torch.inference_mode(False), torch.no_grad():
                kept = self._layouts[device, dtype] = versions, self._build(device, dtype)
        return kept[1]

    def _build(self, device: torch.device, dtype: torch.dtype) -> Layout:
        firsts, columns = {}, 0
        for name, task in self._tasks.items():
            firsts[name], columns = columns, columns + len(task.outputs)
        zero, no_class = columns, columns + 1
        label_firsts = label_columns(list(self._tasks.values()))
        no_label = sum(1 if isinstance(task, Multiclass) else len(task.outputs) for task in self._tasks.values())
        places: list[int] = []
        label_places: list[int] = []
        for stack, width in self._sides():
            for task in stack:
                missing = width - len(task.outputs)
                is_multiclass = isinstance(task, Multiclass)
                places += range(firsts[task.name], firsts[task.name] + len(task.outputs))
                places += [no_class if is_multiclass else zero] * missing
                first = label_firsts[task.name]
                if is_multiclass:
                    label_places.append(first)
                else:
                    label_places += [*range(first, first + len(task.outputs)), *[no_label] * missing]
        trust_places, first = [], 0
        cells = sum(pair.relatedness.table.numel() for stack in self._pair_stacks for pair in stack.pairs)
        for pairs in self._pair_stacks:
            of_stack = torch.full((len(pairs.pairs), pairs.classes, pairs.labels), cells, dtype=torch.int64)
            for i, pair in enumerate(pairs.pairs):
                C, L = pair.relatedness.table.shape
                of_stack[i, :C, :L] = torch.arange(first, first + C * L).view(C, L)
                first += C * L
            trust_places.append(of_stack.to(device))
        return Layout(
            torch.tensor(places, dtype=torch.int64).to(device),
            uses_of(places, columns + 2).to(device),
            torch.tensor(label_places, dtype=torch.int64).to(device),
            torch.tensor([[0.0, NO_CLASS]], dtype=dtype).to(device),
            tuple(stack.build(device, dtype) for stack in self._pair_stacks),
            tuple(trust_places),
        )

    def _sides(self) -> list[tuple[list[Task], int]]:
        """Return what is stacked, in order, with the width that it is filled up to: tasks, then sources and targets."""
        sides = [(stack, max(len(task.outputs) for task in stack)) for stack in self._task_stacks]
        for pairs in self._pair_stacks:
            sides.append(([pair.relatedness.source for pair in pairs.pairs], pairs.classes))
            sides.append(([pair.relatedness.target for pair in pairs.pairs], pairs.labels))
        return sides

    def _terms(
        self,
        z: Tensor,
        labels: Sequence[Tensor],
        trust: Tensor | None,
        layout: Layout,
        own: float | Tensor,
        count_only: bool,
    ) -> tuple[Tensor, Tensor]:
        """Compute all terms from what was laid flat; the part that can be compiled."""
        if len(labels) == 2:
            unknown = (labels[0] == MISSING) | (labels[1] == MISSING)
            labels = [y.masked_fill(unknown, MISSING) for y in labels]
        filled = torch.cat([z, layout.filling.expand(len(z), 2)], dim=1)
        z_of = _stacks(Spread.apply(filled, layout.places, layout.uses), self._widths())  # type: ignore[no-untyped-call]
        sets = [_stacks(y.index_select(1, layout.label_places), self._label_widths()) for y in labels]
        terms = []
        for i, stack in enumerate(self._task_stacks):
            of_sets = [supervised_terms(z_of[i], y[i], isinstance(stack[0], Multiclass)) for y in sets]
            terms.append(of_sets[0] if len(of_sets) == 1 else _blend(of_sets, own))
        i = len(self._task_stacks)
        for pairs, tables, places in zip(self._pair_stacks, layout.tables, layout.trust_places, strict=True):
            label_sets = [LabelSet(y[i][..., 0], y[i + 1][..., 0] if pairs.is_multiclass else y[i + 1]) for y in sets]
            of_cells = None if trust is None else trust[places]
            terms += pairs.terms(z_of[i], z_of[i + 1], label_sets, of_cells, tables, own, count_only)
            i += 2
        return torch.cat([term.total for term in terms]), torch.cat([term.count.detach() for term in terms])

    def _widths(self) -> list[tuple[int, int]]:
        return [(len(stack), width) for stack, width in self._sides()]

    def _label_widths(self) -> list[tuple[int, int]]:
        return [(len(stack), 1 if isinstance(stack[0], Multiclass) else width) for stack, width in self._sides()]


def supervised_terms(z: Tensor, y: Tensor, is_multiclass: bool) -> LossTerm:
    """Return the supervised losses of several tasks of a kind, sums and counts of shape (tasks,).

    Args:
        z: logits, shape (tasks, N, outputs).
        y: labels, -1 where not annotated, same shape; (tasks, N, 1) for multiclass ones.
        is_multiclass: whether the tasks are.
    """
    annotated = y != MISSING
    if is_multiclass:
        entries = -torch.log_softmax(z, dim=-1).gather(-1, y.clamp(min=0))
    else:
        entries = F.binary_cross_entropy_with_logits(z, y.clamp(min=0).to(z.dtype), reduction="none")
    return LossTerm(summed(entries * annotated, stacked=True), summed(annotated, stacked=True).to(z.dtype))


def _stacks(columns: Tensor, widths: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Return stacks, shape (things, N, width), of columns that lie side by side."""
    parts = torch.split(columns, [things * width for things, width in widths], dim=1)
    return [
        part.view(len(part), things, width).transpose(0, 1) for part, (things, width) in zip(parts, widths, strict=True)
    ]


def _blend(terms: Sequence[LossTerm], own: float | Tensor) -> LossTerm:
    a, b = terms
    return LossTerm(own * a.total + (1 - own) * b.total, own * a.count + (1 - own) * b.count)
