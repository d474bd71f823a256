"""The joint loss: supervised losses plus DM, SCA and ILL for every related pair of tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtlcore.distributed import SumOverWorkers, world_size
from mtlcore.losses.co_annotation import co_annotation_to_classes, co_annotation_to_labels
from mtlcore.losses.columns import Spread, uses_of
from mtlcore.losses.distribution_matching import distribution_matching_loss
from mtlcore.losses.implied_likelihood import implied_likelihood_loss
from mtlcore.losses.implied_prediction import implied_prediction, nothing_implied
from mtlcore.losses.loss_term import LossTerm, TaskTerm, looks_at_values
from mtlcore.losses.mixup import MixedLabels, blended, where_both
from mtlcore.losses.objective import MATCHING, Objective
from mtlcore.losses.related_pair import RelatedPair
from mtlcore.losses.stacked_pairs import parts_of
from mtlcore.losses.stacked_terms import StackedTerms
from mtlcore.losses.supervised import supervised_loss
from mtlcore.suggestions import did_you_mean
from mtlcore.tasks import Multiclass, Task

_WORTH_A_STACK = 4  # pairs of a kind on the CPU (tests/benchmarks/matching_cost.py)


class JointLossValue(NamedTuple):
    """What :class:`JointLoss` returns.

    Attributes:
        loss: scalar to call ``backward()`` on. With data-parallel workers its gradient, averaged over workers as
            DistributedDataParallel does, is the gradient of the loss over the global batch.
        parts: this worker's share of every part, detached, unweighted; summed over workers it is the part's value
            over the global batch. Keys: a task's name, ``dm:A->B``, ``sca:B->A``, ``sca:A->B``, ``ill:B->A``,
            ``NAME:A->B`` of an added loss.
        objectives: what :mod:`mtlcore.balancing` weighs: every task's weighted supervised loss by the task's name,
            and ``matching``, the weighted sum of all losses of related pairs, where there are any.
    """

    loss: Tensor
    parts: dict[str, Tensor]
    objectives: dict[str, Objective]


class JointLoss(nn.Module):
    r"""Sum the supervised losses and the losses of every related pair.

    .. math:: L = \sum_t \alpha_t L_t
              + \sum_{(A, B)} \lambda_{DM} L_{DM} + \lambda_{SCA} L_{SCA} + \lambda_{ILL} L_{ILL}

    Every loss is a sum divided by a count over the GLOBAL batch. Where ``torch.distributed`` is initialised the
    counts are summed over all workers (one collective of a few numbers a step), so the step is the same however
    many workers share the batch, even where a worker's shard has no label of a task. Kollias et al., AAAI 2024.

    Args:
        tasks: the tasks, each with its own logits and labels.
        pairs: the related pairs; any number, over any of the tasks.
        task_weights: alpha_t by task name; 1 where it is not given.

    Raises:
        ValueError: a pair or a weight names a task that is not among ``tasks``, or two pairs relate the same tasks.

    Example:
        >>> import torch
        >>> from mtlcore import *
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> joint = JointLoss([A, B], [RelatedPair(R, dm=DistributionMatching(0.1), sca=SoftCoAnnotation(1, 0.1))])
        >>> logits = {"species": torch.zeros(2, 2), "traits": torch.zeros(2, 2)}
        >>> labels = {"species": torch.tensor([0, -1]), "traits": torch.tensor([[-1, -1], [0, 1]])}
        >>> sorted(joint(logits, labels).parts)
        ['dm:species->traits', 'sca:species->traits', 'sca:traits->species', 'species', 'traits']
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        pairs: Sequence[RelatedPair] = (),
        task_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.pairs = tuple(pairs)
        self.task_weights = dict(task_weights or {})
        names = {task.name for task in self.tasks}
        edge_ends = [
            (p.relatedness.edge, end.name) for p in pairs for end in (p.relatedness.source, p.relatedness.target)
        ]
        if MATCHING in names and pairs:
            raise ValueError(f"tasks: found the name {MATCHING!r}, the objective of related pairs; expected another")
        for key, name in edge_ends + [("task_weights", name) for name in self.task_weights]:
            if name not in names:
                raise ValueError(f"{key}: there is no task {name!r}; expected one of {', '.join(sorted(names))}")
        # Whichever way they lead: a second edge would teach the same pair twice.
        related = [frozenset((p.relatedness.source.name, p.relatedness.target.name)) for p in pairs]
        for i, pair in enumerate(pairs):
            if related.index(related[i]) < i:
                raise ValueError(f"{pair.relatedness.edge}: a second edge between these tasks; expected one per pair")
        self._parts = [(task.name, self.task_weights.get(task.name, 1.0)) for task in tasks]
        self._parts += [(name, weight) for pair in pairs for name, weight, _ in parts_of(pair)]
        self._stacks = StackedTerms(self.tasks, self.pairs)
        # Where the stacks' parts, and those of pairs that are left, belong among all.
        of_stacks = set(self._stacks.names)
        order = [*self._stacks.names, *(name for name, _ in self._parts if name not in of_stacks)]
        self._order = [order.index(name) for name, _ in self._parts]
        self._kept: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor, Tensor, Tensor]] = {}
        self._priors: dict[tuple[int, torch.device], Tensor] = {}
        self._compiled = False

    def compile_terms(self, **options: Any) -> None:
        """Have torch.compile fuse the terms at their first use; ``options`` are its own. Values change by rounding."""
        self._stacks.compile(**options)
        self._compiled = True

    @property
    def part_names(self) -> tuple[str, ...]:
        """The names of the parts, in order."""
        return tuple(name for name, _ in self._parts)

    def terms(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None = None,
        mixed: MixedLabels | None = None,
        count_only: bool = False,
        priors: Mapping[str, Tensor] | None = None,
    ) -> dict[str, tuple[float, LossTerm]]:
        """Return every part's weight and its sum and count over this worker's inputs; the arguments of a call.

        With ``count_only`` the sums mean nothing, and what costs most is left out.
        """
        terms: dict[str, tuple[float, LossTerm]] = {}

        for task in self.tasks:
            weight = self.task_weights.get(task.name, 1.0)
            terms[task.name] = weight, _of_labels(supervised_loss, logits[task.name], labels, mixed, task.name, task)
        for pair in self.pairs:
            terms |= self._terms_of(pair, logits, labels, trust, mixed, count_only, priors)
        return terms

    def _terms_of(
        self,
        pair: RelatedPair,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None,
        mixed: MixedLabels | None,
        count_only: bool,
        priors: Mapping[str, Tensor] | None,
        only_added: bool = False,
    ) -> dict[str, tuple[float, LossTerm]]:
        terms: dict[str, tuple[float, LossTerm]] = {}
        R = pair.relatedness
        A, B = R.source.name, R.target.name
        rows = None if trust is None else trust[R.key]
        # A table that is trusted throughout takes half the time. An accelerator would have to be waited for.
        if rows is not None and looks_at_values(rows) and bool((rows == 1).all()):
            rows = None
        for added in pair.added:
            if added.weight:
                terms[f"{added.name}:{A}->{B}"] = added.weight, added.term(logits, labels, R, rows, mixed)
        if only_added:
            return terms
        of_pair: dict[str, tuple[float, LossTerm]] = {}
        # Counts come of labels and trust alone, so for them no prediction has to be implied.
        implied = nothing_implied(len(logits[A]), len(R.target.outputs), logits[A].device) if count_only else None
        if implied is None and pair.ill.weight:  # DM at the same temperature shares what costs most
            implied = implied_prediction(logits[A], R, trust=rows)
        if dm := pair.dm.weight and pair.dm:
            of_pair[f"dm:{A}->{B}"] = (
                dm.weight,
                distribution_matching_loss(
                    logits[A],
                    logits[B],
                    R,
                    tau=dm.tau,
                    direction=dm.direction,
                    stop_gradient=dm.stop_gradient,
                    form=dm.form,
                    trust=rows,
                    implied=implied if dm.tau == 1 or count_only else None,
                ),
            )
        if sca := pair.sca.weight and pair.sca:
            if sca.to_source:
                term = _of_labels(
                    co_annotation_to_classes,
                    logits[A],
                    labels,
                    mixed,
                    B,
                    R,
                    tau_co=sca.tau_co,
                    form=sca.source_form,
                    clip=sca.clip,
                    prior=self._prior(pair, logits[A].device, priors),
                    trust=rows,
                )
                of_pair[f"sca:{B}->{A}"] = sca.weight, term
            if sca.to_target:
                term = _of_labels(co_annotation_to_labels, logits[B], labels, mixed, A, R, form=sca.form, trust=rows)
                of_pair[f"sca:{A}->{B}"] = sca.weight, term
        if pair.ill.weight:
            term = _of_labels(implied_likelihood_loss, logits[A], labels, mixed, B, R, trust=rows, implied=implied)
            of_pair[f"ill:{B}->{A}"] = pair.ill.weight, term
        return of_pair | terms

    def _prior(self, pair: RelatedPair, device: torch.device, priors: Mapping[str, Tensor] | None) -> Tensor | None:
        if priors is not None and pair.relatedness.key in priors:
            return priors[pair.relatedness.key].to(device)
        if pair.sca.prior is None:
            return None
        key = id(pair), device
        if key not in self._priors:
            self._priors[key] = torch.tensor(pair.sca.prior).to(device)
        return self._priors[key]

    def _is_stacked(self, device: torch.device) -> bool:
        """Say whether parts are computed in stacks: on an accelerator, where each operation costs a launch.

        On the CPU from so many pairs of a kind on as make a stack no slower.
        """
        worth_it = device.type != "cpu" or self._compiled or self._stacks.largest >= _WORTH_A_STACK
        return worth_it and bool(self._stacks.names)

    def _totals(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None,
        mixed: MixedLabels | None,
        count_only: bool = False,
        priors: Mapping[str, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the sums and counts of all parts, each of shape (parts,)."""
        device = next(iter(logits.values())).device
        if not self._is_stacked(device):
            terms = [term for _, term in self.terms(logits, labels, trust, mixed, count_only, priors).values()]
            return torch.stack([term.total for term in terms]), torch.stack([term.count.detach() for term in terms])
        partners, own = (mixed.labels, mixed.own) if mixed else (None, 1.0)
        totals, counts = self._stacks(logits, labels, trust, partners, own, count_only, priors)
        rest = [
            _of_labels(supervised_loss, logits[task.name], labels, mixed, task.name, task)
            for task in self.tasks
            if task.name not in self._stacks.names
        ]
        for pair in self.pairs:
            if not pair.has_loss:
                continue
            in_stack = isinstance(pair.relatedness.source, Multiclass)
            of_pair = self._terms_of(pair, logits, labels, trust, mixed, count_only, priors, only_added=in_stack)
            rest += [term for _, term in of_pair.values()]
        if rest:
            totals = torch.cat([totals, torch.stack([term.total.to(totals) for term in rest])])
            counts = torch.cat([counts, torch.stack([term.count.detach().to(counts) for term in rest])])
        _, order, uses, _ = self._constants(totals)
        totals = Spread.apply(totals[None], order, uses)[0]  # type: ignore[no-untyped-call]
        return totals, counts.index_select(0, order)

    def _constants(self, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return, on a device, the parts' weights, their order among those of stacks, how often each is used, and which
        parts are of related pairs."""
        key = like.device, like.dtype
        if key not in self._kept:
            self._kept[key] = (
                torch.tensor([weight for _, weight in self._parts], dtype=like.dtype).to(like.device),
                torch.tensor(self._order, dtype=torch.int64).to(like.device),
                uses_of(self._order, len(self._order)).to(like.device),
                torch.tensor([i >= len(self.tasks) for i in range(len(self._parts))]).to(like.device),
            )
        return self._kept[key]

    def _check(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        names = [task.name for task in self.tasks]
        for name in labels:
            if name not in names:
                raise ValueError(f"labels: there is no task {name!r}{did_you_mean(name, names)}")
        for task in self.tasks:
            if task.name not in labels:
                raise ValueError(
                    f"labels: there are none of task {task.name!r}; expected a tensor, -1 where not annotated"
                )
            y, z = labels[task.name], logits[task.name]
            numbers = task.encoding == "numbers"
            shape = z.shape[:1] if task.encoding == "class" else torch.Size((len(z), len(task.outputs)))
            if y.dtype.is_floating_point != numbers or y.dtype is torch.bool:
                right = "floating point, NaN where missing" if numbers else "integers, -1 where missing"
                raise ValueError(f"task {task.name!r}: found labels of {y.dtype}; expected {right}")
            if y.shape != shape:
                raise ValueError(
                    f"task {task.name!r}: found labels of shape {tuple(y.shape)} for logits of {tuple(z.shape)}; "
                    f"expected {tuple(shape)}"
                )
            # On an accelerator looking at values would make every step wait for the device.
            if numbers:
                continue
            bound = len(task.outputs) if task.encoding == "class" else 2
            if y.device.type == "cpu" and y.numel() and not -1 <= y.min() <= y.max() < bound:
                worst = int(y.max() if y.max() >= bound else y.min())
                raise ValueError(f"task {task.name!r}: found the label {worst}; expected labels in [-1, {bound})")

    def begin_counts(
        self,
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None = None,
        mixed: MixedLabels | None = None,
        beside: Mapping[str, TaskTerm] | None = None,
    ) -> SumOverWorkers:
        """Begin to count what each part is divided by, over the global batch; labels and trust alone decide it.

        With data-parallel workers, which must all call it, the sum over them runs beside the forward pass. And it
        lets a batch be worked through in pieces: ``forward(..., counts=counts)`` of each piece, and the pieces'
        losses, parts and gradients sum to the whole batch's. The sum is one tensor, of shape (parts,).

        Args:
            labels: of this worker's whole part of the batch, as :meth:`forward` takes them.
            trust: as :meth:`forward` takes it.
            mixed: as :meth:`forward` takes it.
            beside: as :meth:`forward` takes it, of which the counts alone matter.

        Example:
            >>> import torch
            >>> from mtlcore import JointLoss, Multiclass
            >>> joint = JointLoss([Multiclass("species", ("cat", "crow"))])
            >>> labels, logits = {"species": torch.tensor([0, -1, 1])}, {"species": torch.ones(3, 2)}
            >>> (counts,) = joint.begin_counts(labels).wait()
            >>> pieces = [
            ...     joint({"species": logits["species"][k::2]}, {"species": labels["species"][k::2]}, counts=counts)
            ...     for k in (0, 1)
            ... ]
            >>> bool(torch.isclose(pieces[0].loss + pieces[1].loss, joint(logits, labels).loss))
            True
        """
        any_labels = next(iter(labels.values()))
        # Logits of zeros: the real ones come of the forward pass, beside which the counts travel.
        with torch.no_grad():
            logits = {
                task.name: torch.zeros(len(any_labels), task.width, device=any_labels.device) for task in self.tasks
            }
            self._check(logits, labels)
            totals, counts = self._totals(logits, labels, trust, mixed, count_only=True)
            _, counts = _with(totals, counts, beside)
        return SumOverWorkers([counts])

    def forward(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None = None,
        mixed: MixedLabels | None = None,
        counts: Tensor | None = None,
        coupling: float | Tensor = 1.0,
        beside: Mapping[str, TaskTerm] | None = None,
        priors: Mapping[str, Tensor] | None = None,
        weights: Tensor | None = None,
    ) -> JointLossValue:
        """Return the loss and its parts.

        Args:
            logits: by task, floating point, shape (N, task.width).
            labels: by task, as :mod:`mtlcore.tasks` says; N is the same for all, missing labels are -1, or NaN.
            trust: by edge (``A->B``), of each row of its table, shape (C,), or of each cell, (C, L), in [0, 1]; 1
                everywhere where it is not given. See :class:`mtlcore.RelatednessTrust`.
            mixed: where every input is a blend of two, the labels of those that were blended in.
            counts: of the global batch, shape (parts,), where they are known already or these inputs are a piece of
                it; see :meth:`begin_counts`.
            coupling: by what the weights of all losses of related pairs are multiplied, >= 0: less than 1 while a
                network is too young for what it implies to teach anything. A tensor, of shape (), on the logits'
                device where a recording of the step is to read it anew.
            beside: what teaches a task beside its labels, by the name of its part; the task's weight multiplies its
                own, and it belongs to the task's objective. See :class:`mtlcore.UnlabelledLoss`.
            priors: by edge, A's class prior in co-annotation, shape (C,), in the place of the pair's own. See
                :class:`mtlcore.ShiftedPriors`.
            weights: of every part in the place of its own, >= 0, shape (parts,), in the order of :attr:`part_names`:
                for weights that change from step to step. A part whose own weight is 0 is not among them; one that has
                0 here is computed and moves nothing.

        Raises:
            ValueError: the labels are not those of the tasks; names the task and what was found.

        Example:
            >>> import torch
            >>> from mtlcore import JointLoss, Multiclass
            >>> joint = JointLoss([Multiclass("species", ("cat", "crow")), Multiclass("pose", ("sits", "flies"))])
            >>> z, y = torch.zeros(1, 2), torch.tensor([0])
            >>> logits, labels = {"species": z, "pose": z}, {"species": y, "pose": y}
            >>> later = joint(logits, labels, weights=torch.tensor([1.0, 0.0])).loss
            >>> bool(later == joint(logits, labels).parts["species"])
            True
        """
        for task_labels in (labels, mixed.labels) if mixed else (labels,):
            self._check(logits, task_labels)
        totals, own_counts = _with(*self._totals(logits, labels, trust, mixed, priors=priors), beside)
        (divisors,) = SumOverWorkers([own_counts]).wait() if counts is None else (counts,)
        weights = self._weights(totals, coupling, beside, weights)
        values = totals / torch.where(divisors > 0, divisors, torch.ones_like(divisors))
        weighted = weights * values
        names = [*self.part_names, *(beside or {})]
        parts = dict(zip(names, values.detach().unbind(), strict=True))
        # Times the number of workers, by which DistributedDataParallel divides when it averages gradients.
        loss = weighted.sum() * world_size()
        return JointLossValue(loss, parts, self._objectives(weighted, weights, divisors, beside))

    def _weights(
        self,
        like: Tensor,
        coupling: float | Tensor,
        beside: Mapping[str, TaskTerm] | None,
        given: Tensor | None,
    ) -> Tensor:
        """Return the weight of every part."""
        own, _, _, of_pairs = self._constants(like)
        weights = own if given is None else given.to(like)
        if isinstance(coupling, Tensor) or coupling != 1.0:
            share = coupling if isinstance(coupling, Tensor) else like.new_full((), coupling)
            weights = torch.where(of_pairs, weights * share, weights)
        if not beside:
            return weights
        if given is not None:
            places = {task.name: i for i, task in enumerate(self.tasks)}
            of_extras = [given[places[extra.task]] * extra.weight for extra in beside.values()]
            return torch.cat([weights, torch.stack(of_extras).to(like)])
        extras = [self.task_weights.get(extra.task, 1.0) * extra.weight for extra in beside.values()]
        return torch.cat([weights, torch.tensor(extras, dtype=like.dtype, device=like.device)])

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The names of the objectives, in order: the tasks, then ``matching`` where a pair has a loss."""
        matches = len(self._parts) > len(self.tasks)
        return (*(task.name for task in self.tasks), *((MATCHING,) if matches else ()))

    def _objectives(
        self, weighted: Tensor, weights: Tensor, counts: Tensor, beside: Mapping[str, TaskTerm] | None
    ) -> dict[str, Objective]:
        counts_for_something = (counts > 0) & (weights > 0)
        tasks, parts = len(self.tasks), len(self._parts)
        objectives = {task.name: Objective(weighted[i], counts_for_something[i]) for i, task in enumerate(self.tasks)}
        for i, extra in enumerate((beside or {}).values(), start=parts):
            # Beside the labels there may be a count and nothing to learn: labels alone make a task present.
            share, present = objectives[extra.task]
            objectives[extra.task] = Objective(share + weighted[i], present)
        if parts > tasks:
            objectives[MATCHING] = Objective(weighted[tasks:parts].sum(), counts_for_something[tasks:parts].any())
        return objectives


def _with(totals: Tensor, counts: Tensor, beside: Mapping[str, TaskTerm] | None) -> tuple[Tensor, Tensor]:
    """Return sums and counts with those that stand beside the labels at the end."""
    if not beside:
        return totals, counts
    terms = [extra.term for extra in beside.values()]
    return (
        torch.cat([totals, torch.stack([term.total.to(totals) for term in terms])]),
        torch.cat([counts, torch.stack([term.count.detach().to(counts) for term in terms])]),
    )


def _of_labels(
    loss: Callable[..., LossTerm],
    z: Tensor,
    labels: Mapping[str, Tensor],
    mixed: MixedLabels | None,
    task: str,
    *args: Any,
    **options: Any,
) -> LossTerm:
    """Return a loss of logits and of a task's labels."""
    if mixed is None:
        return loss(z, labels[task], *args, **options)
    y, y_partner = where_both(labels[task], mixed.labels[task])
    return blended(loss(z, y, *args, **options), loss(z, y_partner, *args, **options), mixed.own)
