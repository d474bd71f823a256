"""What a step shows of all tables at once: probes, counts and trust as few operations, however many edges there are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlcore.diagnostics.cell_trust import trusted_cells
from mtlcore.diagnostics.observed_cells import class_profile, classes_of, combined, from_A, from_B
from mtlcore.losses.columns import NO_CLASS, alike, flat_labels, label_columns
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task

# By edge, of C by L cells: sums over inputs annotated for A, over those where a label of a multilabel A does not hold,
# over those annotated for B, and of B's probe. Their shapes: (5, C, L), (5, C, L) or (5, 0, L), (3, C, L), (4, L).
EVIDENCE = ("from_A", "from_not_A", "from_B", "confusion")


class _Stack(NamedTuple):
    """Edges between the same kinds of tasks, filled up to C by L; numbered."""

    edges: list[int]
    classes: int
    labels: int


class _OnDevice(NamedTuple):
    """What stays the same, on a device; all but the last four are numbers of columns or places, int64.

    Attributes:
        class_places: the columns of multiclass tasks, stacked and filled up, among all logits.
        probability_places: of each column's probability, among those stacks and then all columns.
        label_places: which label a column's is.
        wanted: the label with which a column's output holds.
        tasks: of each column.
        seen_places: of stacks, among probabilities, what holds, what is annotated, and a zero.
        state_places: of stacks' evidence, among all evidence and a zero.
        evidence_places: of all evidence, among the stacks'.
        cell_places: of all cells, among the stacks'.
        counted: which columns count a task's annotations, float32, shape (tasks, columns).
        tables: by stack, NaN where unknown and where filled up.
        rows: by stack, of source and target, how many inputs are annotated in all; inf where that is not known.
        real: by stack, 1 where a row and where a column is an output, (P, 1, C) and (P, 1, L).
    """

    class_places: Tensor
    probability_places: Tensor
    label_places: Tensor
    wanted: Tensor
    tasks: Tensor
    seen_places: Tensor
    state_places: Tensor
    evidence_places: Tensor
    cell_places: Tensor
    counted: Tensor
    tables: tuple[Tensor, ...]
    rows: tuple[tuple[Tensor, Tensor], ...]
    real: tuple[tuple[Tensor, Tensor], ...]


class EvidenceStacks:
    """Computes what :class:`mtlcore.RelatednessTrust` keeps.

    Args:
        tasks: those of the edges.
        relatednesses: the edges.
        rows: by task, how many inputs are annotated for it in all, where that is known.
    """

    def __init__(self, tasks: Sequence[Task], relatednesses: Sequence[Relatedness], rows: Mapping[str, int]) -> None:
        self._tasks, self._edges, self._rows = list(tasks), list(relatednesses), rows
        classes = [task for task in tasks if isinstance(task, Multiclass)]
        self._class_stacks = [[classes[i] for i in stack] for stack in alike([len(t.outputs) for t in classes])]
        kinds: dict[tuple[bool, bool], list[int]] = {}
        for i, R in enumerate(self._edges):
            kinds.setdefault((isinstance(R.source, Multiclass), isinstance(R.target, Multiclass)), []).append(i)
        self._stacks = []
        for numbers in kinds.values():
            for stack in alike([self._edges[i].table.numel() for i in numbers]):
                edges = sorted(numbers[i] for i in stack)
                shapes = [self._edges[i].table.shape for i in edges]
                self._stacks.append(_Stack(edges, max(s[0] for s in shapes), max(s[1] for s in shapes)))
        self._kept: dict[torch.device, _OnDevice] = {}
        self._count: Callable[..., tuple[Tensor, Tensor, Tensor]] = self._counted

    def compile(self, **options: Any) -> None:
        """Have torch.compile fuse what is counted."""
        self._count = torch.compile(self._counted, dynamic=False, **options)

    def seen(
        self, h: Mapping[str, Tensor], probes: Mapping[str, nn.Module], labels: Mapping[str, Tensor], evidence: Tensor
    ) -> list[Tensor]:
        """Return the sums of a batch: annotations by task, gradients of all probes' weights and biases, and evidence.

        Args:
            h: by task, features, shape (N, features); the same tensor for tasks that share them.
            probes: by task, linear layers.
            labels: by task.
            evidence: so far, of all edges one after the other.
        """
        layout = self._on(evidence.device)
        names = [task.name for task in self._tasks]
        of_weights, of_biases = ([getattr(probes[name], part) for name in names] for part in ("weight", "bias"))
        shared = all(h[name] is h[names[0]] for name in names)
        if shared:
            normalized = [F.layer_norm(h[names[0]], h[names[0]].shape[1:])]
            z = F.linear(normalized[0], torch.cat(of_weights), torch.cat(of_biases))
        else:
            normalized = [F.layer_norm(h[name], h[name].shape[1:]) for name in names]
            each = zip(normalized, of_weights, of_biases, strict=True)
            z = torch.cat([F.linear(x, weight, bias) for x, weight, bias in each], dim=1)
        slope, counts, seen = self._count(z, flat_labels(self._tasks, labels), evidence, layout)
        if shared:
            gradients = slope.t() @ normalized[0]
        else:
            most, sizes = max(x.shape[1] for x in normalized), [len(task.outputs) for task in self._tasks]
            of_tasks = zip(torch.split(slope, sizes, dim=1), normalized, strict=True)
            gradients = torch.cat([F.pad(part.t() @ x, (0, most - x.shape[1])) for part, x in of_tasks])
        return [counts, gradients, slope.sum(dim=0), seen]

    def means(self, counts: Tensor, of_weights: Tensor, of_biases: Tensor) -> tuple[Tensor, Tensor]:
        """Divide the gradients of each task's probe by its number of annotations."""
        divisor = counts.clamp(min=1).index_select(0, self._on(counts.device).tasks)
        return of_weights / divisor[:, None], of_biases / divisor

    def trust(self, evidence: Tensor) -> Tensor:
        """Return the trust of all edges' cells, one after the other."""
        layout, cells = self._on(evidence.device), []
        for i, (stack, state) in enumerate(zip(self._stacks, self._states(evidence, layout), strict=True)):
            by_A, _, by_B, confusion = state
            rows, (_, outputs) = layout.rows[i], layout.real[i]
            A, B = self._ends(stack)
            observed = combined(from_A(by_A, confusion, B, rows[0], outputs), from_B(by_B, rows[1]))
            from_classes, to_classes = isinstance(A, Multiclass), isinstance(B, Multiclass)
            cells.append(trusted_cells(layout.tables[i], observed, from_classes=from_classes, to_classes=to_classes))
        return torch.cat([part.reshape(-1) for part in cells]).index_select(0, layout.cell_places)

    def _counted(self, z: Tensor, y: Tensor, evidence: Tensor, layout: _OnDevice) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probes' errors, (N, columns), annotations by task, and this batch's part of the evidence."""
        filled = torch.cat([z, z.new_full((1, 1), NO_CLASS).expand(len(z), 1)], dim=1)
        of_classes = filled.index_select(1, layout.class_places)
        parts: list[Tensor] = []
        first = 0
        for classes in self._class_stacks:
            width = max(len(task.outputs) for task in classes)
            part = of_classes[:, first : first + len(classes) * width].reshape(len(z), len(classes), width)
            parts.append(torch.softmax(part, dim=2).flatten(1))
            first += len(classes) * width
        p = torch.cat([*parts, torch.sigmoid(z)], dim=1).index_select(1, layout.probability_places)
        of_columns = y.index_select(1, layout.label_places)
        has, holds = (of_columns != MISSING).to(z), (of_columns == layout.wanted).to(z)
        counts = (layout.counted * has.sum(dim=0)).sum(dim=1)
        seen = torch.cat([p, holds, has, torch.zeros_like(z[:, :1])], dim=1).index_select(1, layout.seen_places)
        states, found, first = self._states(evidence, layout), [], 0
        for i, stack in enumerate(self._stacks):
            P = len(stack.edges)
            ends = []
            for width in (stack.classes, stack.labels):
                of_end = []
                for _ in range(3):
                    part = seen[:, first : first + P * width]
                    of_end.append(part.view(len(z), P, width).transpose(0, 1))
                    first += P * width
                ends.append(of_end)
            found += [part.reshape(-1) for part in self._of_stack(stack, ends[0], ends[1], states[i], layout.real[i])]
        return (p - holds) * has, counts, torch.cat(found).index_select(0, layout.evidence_places)

    def _of_stack(
        self,
        stack: _Stack,
        of_A: Sequence[Tensor],
        of_B: Sequence[Tensor],
        state: Sequence[Tensor],
        real: tuple[Tensor, Tensor],
    ) -> list[Tensor]:
        """Return this batch's part of everything in EVIDENCE, of shapes with the stack's edges in front."""
        A, B = self._ends(stack)
        (p_A, y_A, has_A), (p_B, y_B, has_B) = of_A, of_B
        by_A, by_not_A, _, of_probe = state
        classes, outputs = real
        profile = class_profile(by_A, of_probe, B, outputs)
        negative = class_profile(by_not_A, of_probe, B, outputs) if isinstance(A, Multilabel) else None
        inputs = has_B.amax(dim=-1, keepdim=True) * (1 - has_A)  # what both annotate is counted from A's side
        # Read with what the data have shown, not with the table: a wrong cell must not vouch for itself.
        r = classes_of(p_A, y_B, has_B, profile, negative, B, classes) * inputs * classes
        missing, holds = 1 - has_B, has_B * y_B
        parts = [has_B, holds, missing, missing * p_B, missing * 2 * p_B * (1 - p_B)]
        # One product for all five sums: they share the left factor, and are small.
        side_by_side = torch.cat([part * outputs for part in parts], dim=-1)

        def counted(of_class: Tensor) -> Tensor:
            product = of_class.mT @ side_by_side
            return product.view(*product.shape[:2], len(parts), has_B.shape[-1]).transpose(1, 2)

        by_B = torch.stack([r.mT @ has_B, r.mT @ holds, r.square().mT @ has_B], dim=1)
        not_holds = has_B - holds
        confusion = torch.stack([(p_B * holds).sum(1), holds.sum(1), (p_B * not_holds).sum(1), not_holds.sum(1)], dim=1)
        negatives = [counted((1 - y_A) * has_A)] if isinstance(A, Multilabel) else []
        return [counted(y_A * has_A), *negatives, by_B, confusion]

    def _ends(self, stack: _Stack) -> tuple[Task, Task]:
        """Return the source and the target of a stack's first edge, for the kinds of all of them."""
        R = self._edges[stack.edges[0]]
        return R.source, R.target

    def _shapes(self, stack: _Stack) -> list[tuple[int, ...]]:
        """Return the shapes of a stack's evidence."""
        P, C, L = len(stack.edges), stack.classes, stack.labels
        negatives = C if isinstance(self._ends(stack)[0], Multilabel) else 0
        return [(P, 5, C, L), (P, 5, negatives, L), (P, 3, C, L), (P, 4, L)]

    def _states(self, evidence: Tensor, layout: _OnDevice) -> list[list[Tensor]]:
        """Return the evidence of every stack, in the order of EVIDENCE."""
        flat = torch.cat([evidence, torch.zeros_like(evidence[:1])]).index_select(0, layout.state_places)
        shapes = [self._shapes(stack) for stack in self._stacks]
        sizes = [torch.Size(shape).numel() for of_stack in shapes for shape in of_stack]
        parts = iter(torch.split(flat, sizes))
        return [[next(parts).view(shape) for shape in of_stack] for of_stack in shapes]

    def _on(self, device: torch.device) -> _OnDevice:
        if device not in self._kept:
            self._kept[device] = self._build(device)
        return self._kept[device]

    def _build(self, device: torch.device) -> _OnDevice:
        columns, total = {}, 0
        for task in self._tasks:
            columns[task.name] = list(range(total, total + len(task.outputs)))
            total += len(task.outputs)
        class_places: list[int] = []
        probability_places = [-1] * total
        for classes in self._class_stacks:
            width = max(len(task.outputs) for task in classes)
            for task in classes:
                for j, column in enumerate(columns[task.name]):
                    probability_places[column] = len(class_places) + j
                class_places += columns[task.name] + [total] * (width - len(task.outputs))
        probability_places = [
            len(class_places) + column if place < 0 else place for column, place in enumerate(probability_places)
        ]
        firsts = label_columns(self._tasks)
        label_places, wanted, tasks = [], [], []
        counted = torch.zeros(len(self._tasks), total)
        for number, task in enumerate(self._tasks):
            is_multiclass = isinstance(task, Multiclass)
            for j, column in enumerate(columns[task.name]):
                label_places.append(firsts[task.name] + (0 if is_multiclass else j))
                wanted.append(j if is_multiclass else 1)
                tasks.append(number)
                counted[number, column] = float(j == 0 or not is_multiclass)
        seen_places = []
        for stack in self._stacks:
            for end, width in (("source", stack.classes), ("target", stack.labels)):
                for part in range(3):
                    for i in stack.edges:
                        of_task = columns[getattr(self._edges[i], end).name]
                        seen_places += [part * total + column for column in of_task]
                        seen_places += [3 * total] * (width - len(of_task))
        state_places, evidence_places = self._evidence_places()
        cell_places = torch.cat(
            [
                (first + torch.arange(len(R.table))[:, None] * stack.labels + torch.arange(R.table.shape[1])).flatten()
                for first, stack, R in self._cells_in_stacks()
            ]
        )
        tables, rows, real = [], [], []
        for stack in self._stacks:
            table = torch.full((len(stack.edges), stack.classes, stack.labels), torch.nan)
            of_classes, of_labels = (torch.zeros(len(stack.edges), 1, n) for n in (stack.classes, stack.labels))
            for k, i in enumerate(stack.edges):
                C, L = self._edges[i].table.shape
                table[k, :C, :L] = self._edges[i].table.float()
                of_classes[k, :, :C], of_labels[k, :, :L] = 1.0, 1.0
            ends = [[getattr(self._edges[i], end).name for i in stack.edges] for end in ("source", "target")]
            of_source, of_target = (
                torch.tensor([float(self._rows.get(name, torch.inf)) for name in names])[:, None, None]
                for names in ends
            )
            tables.append(table.to(device))
            rows.append((of_source.to(device), of_target.to(device)))
            real.append((of_classes.to(device), of_labels.to(device)))

        def indices(numbers: list[int]) -> Tensor:
            return torch.tensor(numbers, dtype=torch.int64).to(device)

        return _OnDevice(
            indices(class_places),
            indices(probability_places),
            indices(label_places),
            indices(wanted),
            indices(tasks),
            indices(seen_places),
            state_places.to(device),
            evidence_places.to(device),
            cell_places.to(device),
            counted.to(device),
            tuple(tables),
            tuple(rows),
            tuple(real),
        )

    def _cells_in_stacks(self) -> list[tuple[int, _Stack, Relatedness]]:
        """Return of every edge, in order, where its cells begin among the stacks', and its stack."""
        found, first = {}, 0
        for stack in self._stacks:
            for i in stack.edges:
                found[i] = first, stack, self._edges[i]
                first += stack.classes * stack.labels
        return [found[i] for i in range(len(self._edges))]

    def _evidence_places(self) -> tuple[Tensor, Tensor]:
        """Return where stacks' evidence lies among all evidence, and where all evidence lies among the stacks'."""
        firsts: dict[tuple[int, int], int] = {}
        total = 0
        for i, R in enumerate(self._edges):
            C, L = R.table.shape
            for part, rows in enumerate((5 * C, 5 * C if isinstance(R.source, Multilabel) else 0, 3 * C, 4)):
                firsts[i, part] = total
                total += rows * L
        to_stacks, of_stacks = [], torch.empty(total, dtype=torch.int64)
        begun = 0
        for stack in self._stacks:
            for part, shape in enumerate(self._shapes(stack)):
                places = torch.full(shape, total, dtype=torch.int64)
                for k, i in enumerate(stack.edges):
                    C, L = self._edges[i].table.shape
                    inner = places[k, :, :L] if part == 3 else places[k, :, : min(C, shape[2]), :L]
                    inner.copy_(firsts[i, part] + torch.arange(inner.numel()).view(inner.shape))
                    at = torch.arange(places.numel()).view(shape)[k]
                    at = at[:, :L] if part == 3 else at[:, : min(C, shape[2]), :L]
                    of_stacks[inner.flatten()] = begun + at.flatten()
                to_stacks.append(places.flatten())
                begun += places.numel()
        return torch.cat(to_stacks), of_stacks
