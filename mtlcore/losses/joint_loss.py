"""The joint loss: supervised losses plus DM, SCA and ILL for every related pair of tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mtlcore.distributed import SumOverWorkers, world_size
from mtlcore.losses.co_annotated_classes import SourceForm
from mtlcore.losses.co_annotation import LabelForm, co_annotation_to_classes, co_annotation_to_labels
from mtlcore.losses.distribution_matching import Direction, distribution_matching_loss
from mtlcore.losses.implied_likelihood import implied_likelihood_loss
from mtlcore.losses.implied_prediction import implied_prediction, nothing_implied
from mtlcore.losses.loss_term import LossTerm, TaskTerm
from mtlcore.losses.mixup import MixedLabels, blended, where_both
from mtlcore.losses.objective import MATCHING, Objective
from mtlcore.losses.pair_loss import AddedPairLoss
from mtlcore.losses.supervised import supervised_loss
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.suggestions import did_you_mean
from mtlcore.tasks import Task


@dataclass(frozen=True)
class DistributionMatching:
    """lambda_DM and the settings of :func:`mtlcore.distribution_matching_loss`.

    Example:
        >>> DistributionMatching(0.3, tau=2.0).direction
        'own_is_target'
    """

    weight: float = 0.0
    tau: float = 1.0
    direction: Direction = "own_is_target"
    stop_gradient: bool = False
    form: LabelForm = "full"


@dataclass(frozen=True)
class SoftCoAnnotation:
    """lambda_SCA and the settings of the two co-annotation losses; ``to_source`` and ``to_target`` switch each.

    ``source_form`` and ``clip`` are those of what B's labels teach A, ``form`` of what A's teach B. ``prior`` is A's
    class prior, C numbers; uniform where not given.

    Example:
        >>> SoftCoAnnotation(1.0, tau_co=0.1, to_target=False).to_source
        True
    """

    weight: float = 0.0
    tau_co: float = 1.0
    form: LabelForm = "positive"
    source_form: SourceForm = "bayes"
    clip: float = 0.05
    to_source: bool = True
    to_target: bool = True
    prior: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ImpliedLikelihood:
    """lambda_ILL of :func:`mtlcore.implied_likelihood_loss`.

    Example:
        >>> ImpliedLikelihood(0.5).weight
        0.5
    """

    weight: float = 0.0


@dataclass(frozen=True)
class RelatedPair:
    """A relatedness edge and what the objective does with it. A loss of weight 0 is not computed.

    Example:
        >>> from mtlcore import Multiclass, Multilabel, Relatedness
        >>> mood, units = Multiclass("mood", ("happy",)), Multilabel("units", ("smile",))
        >>> R = Relatedness.from_rows(mood, units, {"happy": "smile"})
        >>> RelatedPair(R, dm=DistributionMatching(0.3)).sca.weight
        0.0
    """

    relatedness: Relatedness
    dm: DistributionMatching = field(default_factory=DistributionMatching)
    sca: SoftCoAnnotation = field(default_factory=SoftCoAnnotation)
    ill: ImpliedLikelihood = field(default_factory=ImpliedLikelihood)
    added: tuple[AddedPairLoss, ...] = ()

    @property
    def has_loss(self) -> bool:
        """Whether any of its losses has a weight."""
        built_in = self.dm.weight or self.sca.weight or self.ill.weight
        return bool(built_in or any(added.weight for added in self.added))


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

        def of_labels(loss: Callable[..., LossTerm], z: Tensor, task: str, *args: Any, **options: Any) -> LossTerm:
            """Return a loss of logits and of a task's labels."""
            if mixed is None:
                return loss(z, labels[task], *args, **options)
            y, y_partner = where_both(labels[task], mixed.labels[task])
            return blended(loss(z, y, *args, **options), loss(z, y_partner, *args, **options), mixed.own)

        for task in self.tasks:
            weight = self.task_weights.get(task.name, 1.0)
            terms[task.name] = weight, of_labels(supervised_loss, logits[task.name], task.name, task)
        for pair in self.pairs:
            R = pair.relatedness
            A, B = R.source.name, R.target.name
            # Counts come of labels and trust alone, so for them no prediction has to be implied.
            rows = None if trust is None else trust[R.key]
            # A table that is trusted throughout takes half the time. An accelerator would have to be waited for.
            if rows is not None and rows.device.type == "cpu" and bool((rows == 1).all()):
                rows = None
            implied = nothing_implied(len(logits[A]), len(R.target.outputs), logits[A].device) if count_only else None
            if implied is None and pair.ill.weight:  # DM at the same temperature shares what costs most
                implied = implied_prediction(logits[A], R, trust=rows)
            if dm := pair.dm.weight and pair.dm:
                terms[f"dm:{A}->{B}"] = (
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
                    prior = None if sca.prior is None else torch.tensor(sca.prior, device=logits[A].device)
                    if priors is not None and R.key in priors:
                        prior = priors[R.key].to(logits[A].device)
                    term = of_labels(
                        co_annotation_to_classes,
                        logits[A],
                        B,
                        R,
                        tau_co=sca.tau_co,
                        form=sca.source_form,
                        clip=sca.clip,
                        prior=prior,
                        trust=rows,
                    )
                    terms[f"sca:{B}->{A}"] = sca.weight, term
                if sca.to_target:
                    terms[f"sca:{A}->{B}"] = (
                        sca.weight,
                        of_labels(co_annotation_to_labels, logits[B], A, R, form=sca.form, trust=rows),
                    )
            if pair.ill.weight:
                term = of_labels(implied_likelihood_loss, logits[A], B, R, trust=rows, implied=implied)
                terms[f"ill:{B}->{A}"] = pair.ill.weight, term
            for added in pair.added:
                if added.weight:
                    terms[f"{added.name}:{A}->{B}"] = added.weight, added.term(logits, labels, R, rows, mixed)
        return terms

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
            terms = self.terms(logits, labels, trust, mixed, count_only=True)
            terms |= self._weighted(beside)
        return _over_workers(terms)

    def forward(
        self,
        logits: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        trust: Mapping[str, Tensor] | None = None,
        mixed: MixedLabels | None = None,
        counts: Tensor | None = None,
        coupling: float = 1.0,
        beside: Mapping[str, TaskTerm] | None = None,
        priors: Mapping[str, Tensor] | None = None,
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
                network is too young for what it implies to teach anything.
            beside: what teaches a task beside its labels, by the name of its part; the task's weight multiplies its
                own, and it belongs to the task's objective. See :class:`mtlcore.UnlabelledLoss`.
            priors: by edge, A's class prior in co-annotation, shape (C,), in the place of the pair's own. See
                :class:`mtlcore.ShiftedPriors`.

        Raises:
            ValueError: the labels are not those of the tasks; names the task and what was found.
        """
        for task_labels in (labels, mixed.labels) if mixed else (labels,):
            self._check(logits, task_labels)
        terms = self.terms(logits, labels, trust, mixed, priors=priors) | self._weighted(beside)
        (divisors,) = _over_workers(terms).wait() if counts is None else (counts,)
        workers = world_size()
        # Stacked, one operation for all parts: on a device many small ones cost more than the numbers in them.
        totals = torch.stack([term.total for _, term in terms.values()])
        of_tasks = {task.name: task.name for task in self.tasks}
        of_tasks |= {name: extra.task for name, extra in (beside or {}).items()}
        weights = torch.tensor(
            [weight if name in of_tasks else weight * coupling for name, (weight, _) in terms.items()],
            dtype=totals.dtype,
            device=totals.device,
        )
        values = totals / torch.where(divisors > 0, divisors, torch.ones_like(divisors))
        # Times the number of workers, by which DistributedDataParallel divides when it averages gradients.
        loss = (weights * values).sum() * workers
        parts = dict(zip(terms, values.detach().unbind(), strict=True))
        return JointLossValue(loss, parts, self._objectives(list(terms), of_tasks, weights, values, divisors))

    def _weighted(self, beside: Mapping[str, TaskTerm] | None) -> dict[str, tuple[float, LossTerm]]:
        return {
            name: (self.task_weights.get(extra.task, 1.0) * extra.weight, extra.term)
            for name, extra in (beside or {}).items()
        }

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The names of the objectives, in order: the tasks, then ``matching`` where a pair has a loss."""
        matches = any(
            pair.dm.weight
            or (pair.sca.weight and (pair.sca.to_source or pair.sca.to_target))
            or pair.ill.weight
            or any(added.weight for added in pair.added)
            for pair in self.pairs
        )
        return (*(task.name for task in self.tasks), *((MATCHING,) if matches else ()))

    def _objectives(
        self, names: Sequence[str], of_tasks: Mapping[str, str], weights: Tensor, values: Tensor, counts: Tensor
    ) -> dict[str, Objective]:
        counts_for_something = (counts > 0) & (weights > 0)
        objectives: dict[str, Objective] = {}
        for i, name in enumerate(names):
            objective = of_tasks.get(name, MATCHING)
            share, present = weights[i] * values[i], counts_for_something[i]
            if before := objectives.get(objective):
                # Beside the labels there may be a count and nothing to learn: labels alone make a task present.
                share, present = before.share + share, before.present | (present & (objective == MATCHING))
            objectives[objective] = Objective(share, present)
        return objectives


def _over_workers(terms: Mapping[str, tuple[float, LossTerm]]) -> SumOverWorkers:
    """Begin to sum the counts of loss terms over all workers."""
    return SumOverWorkers([torch.stack([term.count.detach() for _, term in terms.values()])])
