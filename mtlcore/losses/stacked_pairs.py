"""The losses of several related pairs at once: tables of the same kind, filled up to one size and stacked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mtlcore.losses.co_annotated_classes import suggested_classes
from mtlcore.losses.co_annotation import by_cell, co_annotated_loss, taught_labels
from mtlcore.losses.columns import alike
from mtlcore.losses.distribution_matching import matching_total
from mtlcore.losses.implied import Implied, implied_by_cells
from mtlcore.losses.implied_likelihood import implied_likelihood
from mtlcore.losses.loss_term import LossTerm
from mtlcore.losses.related_pair import RelatedPair
from mtlcore.losses.trust_of_cells import SplitTrust, split_cells
from mtlcore.relatedness.device_cache import Cells, Evidence, Related, evidence_of, matching_view, on_device
from mtlcore.tasks import Multiclass


class StackedTables(NamedTuple):
    """Tables as the losses read them, P of them, filled up to C by L.

    What fills up is known, and 0: so it makes nothing unknown. As a class it has no probability, as a label no weight.

    Attributes:
        cells: as matching reads them.
        related: as co-annotation does.
        evidence: the same under ``bayes``; None where it is not wanted.
        table: R, shape (P, C, L), NaN where unknown and where it was filled up.
        unknown: where it is NaN, bool.
        prior: of the source's classes, shape (P, C); 0 where there is none.
    """

    cells: Cells
    related: Related
    evidence: Evidence | None
    table: Tensor
    unknown: Tensor
    prior: Tensor


class LabelSet(NamedTuple):
    """Labels of P pairs of tasks.

    Attributes:
        source: shape (P, N).
        target: shape (P, N, L), or (P, N) for a multiclass target.
    """

    source: Tensor
    target: Tensor


class PairStack:
    """Pairs from a multiclass task that have the same kind of target and the same settings but for weights and priors.

    Args:
        pairs: one at least, with their numbers.
    """

    def __init__(self, pairs: Sequence[tuple[int, RelatedPair]]) -> None:
        self.numbers = [number for number, _ in pairs]
        self.pairs = [pair for _, pair in pairs]
        first = self.pairs[0]
        self.dm, self.sca, self.ill = first.dm, first.sca, first.ill
        self.is_multiclass = isinstance(first.relatedness.target, Multiclass)
        shapes = [pair.relatedness.table.shape for pair in self.pairs]
        self.classes, self.labels = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)

    @property
    def parts(self) -> list[tuple[int, str, float]]:
        """Every part of the loss in the order of :meth:`terms`: the pair's number, the part's name and its weight."""
        found = []
        for kind in ("dm", "sca to source", "sca to target", "ill"):
            for number, pair in zip(self.numbers, self.pairs, strict=True):
                weights = dict(part[:2] for part in parts_of(pair) if part[2] == kind)
                found += [(number, name, weight) for name, weight in weights.items()]
        return found

    def build(self, device: torch.device, dtype: torch.dtype) -> StackedTables:
        """Return the tables on a device."""
        shape = (len(self.pairs), self.classes, self.labels)
        table = torch.full(shape, torch.nan, dtype=torch.float64)
        real = torch.zeros(shape, dtype=torch.bool)
        prior = torch.zeros(shape[:2], dtype=torch.float64)
        for i, pair in enumerate(self.pairs):
            R = pair.relatedness.table
            table[i, : R.shape[0], : R.shape[1]] = R
            real[i, : R.shape[0], : R.shape[1]] = True
            # Through float32, as a single pair's is.
            prior[i, : R.shape[0]] = 1.0 if pair.sca.prior is None else torch.tensor(pair.sca.prior).double()
        table, prior = table.to(dtype), prior.to(dtype)
        unknown = table.isnan()
        views = [matching_view(part) for part in table]
        outside = torch.cat([~real, ~real], dim=-1)
        of_columns = real.any(dim=-2, keepdim=True).to(dtype)
        missing = (unknown & real).to(dtype)
        cells = Cells(
            torch.stack([view.holds_or_not for view in views]).masked_fill(outside, 0.0),
            torch.stack([view.impossible for view in views]),
            missing if bool(missing.any()) else None,
            of_columns,
        )
        related = Related(table.nan_to_num(nan=0.0), (~unknown).to(dtype), False)
        wants_evidence = self.sca.weight and self.sca.source_form == "bayes" and not self.is_multiclass
        evidence = evidence_of(table, self.sca.clip) if wants_evidence else None
        tables: StackedTables = on_device(StackedTables(cells, related, evidence, table, unknown, prior), device)
        return tables

    def priors(self, own: Tensor, others: Mapping[str, Tensor]) -> Tensor:
        """Return the sources' priors, (P, C), with others in the place of some pairs' own, by edge."""
        rows = []
        for row, pair in zip(own, self.pairs, strict=True):
            other = others.get(pair.relatedness.key)
            rows.append(row if other is None else F.pad(other.to(row), (0, len(row) - len(other))))
        return torch.stack(rows)

    def terms(
        self,
        z_A: Tensor,
        z_B: Tensor,
        labels: Sequence[LabelSet],
        trust: Tensor | None,
        tables: StackedTables,
        own: float | Tensor = 1.0,
        count_only: bool = False,
    ) -> list[LossTerm]:
        """Return the terms of each loss, sums and counts of shape (P,), in the order of :attr:`parts`.

        Args:
            z_A: logits of the sources, shape (P, N, C).
            z_B: of the targets, shape (P, N, L).
            labels: of the inputs; where they are blends, also of those that were blended in.
            trust: of every cell, shape (P, C, L), 1 where it was filled up; None where all count in full.
            tables: as :meth:`build` returns them.
            own: how much of a blend is an input's own.
            count_only: sums mean nothing, and what costs most is left out.
        """
        split = None if trust is None else split_cells(trust, tables.unknown, as_rows=self.is_multiclass)

        def of_labels(term_of: list[LossTerm]) -> LossTerm:
            if len(term_of) == 1:
                return term_of[0]
            a, b = term_of
            return LossTerm(own * a.total + (1 - own) * b.total, own * a.count + (1 - own) * b.count)

        def implied_at(tau: float) -> Implied:
            if count_only:
                zero = torch.zeros_like(z_B)
                return Implied(zero, zero, zero, zero, zero)
            of_cells = None if split is None else split.rows if split.cells is None else trust
            return implied_by_cells(z_A, tables.cells, tau, of_cells)

        terms = []
        implied = implied_at(1.0) if self.ill.weight else None
        if self.dm.weight:
            total = matching_total(
                z_B,
                implied if implied is not None and self.dm.tau == 1 else implied_at(self.dm.tau),
                is_multiclass=self.is_multiclass,
                some_unknown=not count_only and (trust is not None or tables.cells.unknown is not None),
                tau=self.dm.tau,
                direction=self.dm.direction,
                stop_gradient=self.dm.stop_gradient,
                form=self.dm.form,
                real=tables.cells.real,
            )
            terms.append(LossTerm(total, torch.full_like(total.detach(), z_A.shape[1])))
        if self.sca.weight and self.sca.to_source:
            terms.append(of_labels([self._to_source(z_A, y.target, tables, split) for y in labels]))
        if self.sca.weight and self.sca.to_target:
            weights = None if split is None else by_cell(split)
            form = self.sca.form
            terms.append(
                of_labels(
                    [
                        taught_labels(z_B, y.source, tables.table, weights, is_multiclass=self.is_multiclass, form=form)
                        for y in labels
                    ]
                )
            )
        if implied is not None:
            terms.append(
                of_labels([implied_likelihood(y.target, implied, is_multiclass=self.is_multiclass) for y in labels])
            )
        return terms

    def _to_source(self, z_A: Tensor, y_B: Tensor, tables: StackedTables, trust: SplitTrust | None) -> LossTerm:
        suggested = suggested_classes(
            y_B,
            tables.related,
            tables.evidence,
            tables.prior,
            trust,
            is_multiclass=self.is_multiclass,
            tau_co=self.sca.tau_co,
            form=self.sca.source_form,
            clip=self.sca.clip,
        )
        return co_annotated_loss(z_A, suggested, None if trust is None else trust.rows)


def parts_of(pair: RelatedPair) -> list[tuple[str, float, str]]:
    """Return the name, the weight and the kind of every part that a pair adds to the loss, in order."""
    A, B = pair.relatedness.source.name, pair.relatedness.target.name
    parts = []
    if pair.dm.weight:
        parts.append((f"dm:{A}->{B}", pair.dm.weight, "dm"))
    if pair.sca.weight and pair.sca.to_source:
        parts.append((f"sca:{B}->{A}", pair.sca.weight, "sca to source"))
    if pair.sca.weight and pair.sca.to_target:
        parts.append((f"sca:{A}->{B}", pair.sca.weight, "sca to target"))
    if pair.ill.weight:
        parts.append((f"ill:{B}->{A}", pair.ill.weight, "ill"))
    return parts + [(f"{added.name}:{A}->{B}", added.weight, "added") for added in pair.added if added.weight]


def stacked(pairs: Sequence[RelatedPair]) -> list[PairStack]:
    """Return the pairs from multiclass tasks in stacks; those that have no loss of the package's are left out."""
    kinds: dict[object, list[int]] = {}
    for i, pair in enumerate(pairs):
        R = pair.relatedness
        if isinstance(R.source, Multiclass) and (pair.dm.weight or pair.sca.weight or pair.ill.weight):
            dm, sca = replace(pair.dm, weight=bool(pair.dm.weight)), replace(pair.sca, weight=bool(pair.sca.weight))
            key = isinstance(R.target, Multiclass), dm, replace(sca, prior=None), bool(pair.ill.weight)
            kinds.setdefault(key, []).append(i)
    found = []
    for numbers in kinds.values():
        for stack in alike([pairs[i].relatedness.table.numel() for i in numbers]):
            found.append(PairStack([(numbers[i], pairs[numbers[i]]) for i in sorted(stack)]))
    return found
