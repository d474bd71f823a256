"""What rows teach the tasks that they are not labelled for: pseudo-labels, and consistency with a teacher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mtlcore.distributed import SumOverWorkers
from mtlcore.losses.consistency import consistency_loss
from mtlcore.losses.label_evidence import evidence_for_source, evidence_for_target
from mtlcore.losses.loss_term import LossTerm, TaskTerm
from mtlcore.losses.pseudo_labels import flexible_thresholds, pseudo_label_loss, pseudo_labels
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task

_MEMORY = 0.99  # of the counts behind flexible thresholds, a step: those of the last hundred steps or so


@dataclass(frozen=True)
class PseudoLabelling:
    """lambda of pseudo-labels and the settings of :func:`mtlcore.pseudo_labels`.

    Attributes:
        weight: 0: off.
        threshold: how sure a prediction has to be, in (0, 1].
        thresholds: ``fixed``, the same for all, or ``flexible``, by :func:`mtlcore.flexible_thresholds`.
        relatedness: what other tasks' labels of the same input do: ``ignore``; ``agree``: they rule out what they make
            less than ``least_agreement`` as likely as what they make likeliest; ``join``: they are joined with the
            prediction before it is held against the threshold.
        least_agreement: in [0, 1].

    Example:
        >>> PseudoLabelling(1.0, relatedness="agree").threshold
        0.95
    """

    weight: float = 0.0
    threshold: float = 0.95
    thresholds: Literal["fixed", "flexible"] = "fixed"
    relatedness: Literal["ignore", "agree", "join"] = "ignore"
    least_agreement: float = 0.1


class UnlabelledLoss:
    """Pseudo-labels and consistency on every row, for every task that the row is not labelled for.

    In a mixed batch the rows of one dataset are the unlabelled rows of all other tasks: no further data are needed.

    Args:
        tasks: the tasks; of these the multiclass and multilabel ones take part.
        tables: the relatedness that pseudo-labels are held against.
        pseudo: the settings of pseudo-labels.
        consistency: the weight of :func:`mtlcore.consistency_loss`.
        priors: by task, how often each class or label holds among its labels.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, PseudoLabelling, UnlabelledLoss
        >>> animal = Multiclass("animal", ("cat", "crow"))
        >>> unlabelled = UnlabelledLoss([animal], pseudo=PseudoLabelling(1.0))
        >>> weak, strong, labels = torch.tensor([[9.0, 0.0]]), torch.zeros(1, 2), torch.tensor([-1])
        >>> terms = unlabelled.terms({"animal": weak}, {"animal": strong}, {"animal": labels})
        >>> terms["pseudo:animal"].term.mean()
        tensor(0.6931)
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        tables: Sequence[Relatedness] = (),
        *,
        pseudo: PseudoLabelling | None = None,
        consistency: float = 0.0,
        priors: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        # A number has no class to be sure of; ranks and numbers take no part.
        self.tasks = tuple(task for task in tasks if isinstance(task, Multiclass | Multilabel))
        self.tables, self.consistency = tuple(tables), consistency
        self.pseudo = pseudo or PseudoLabelling()
        self._priors = {name: torch.tensor(prior) for name, prior in (priors or {}).items()}
        flexible = self.pseudo.weight > 0 and self.pseudo.thresholds == "flexible"
        self._learned = {task.name: torch.zeros(self._states(task)) for task in self.tasks} if flexible else {}
        self._seen = {name: torch.zeros(learned.shape[:-1]) for name, learned in self._learned.items()}
        self._collected: dict[str, tuple[Tensor, Tensor]] = {}

    @staticmethod
    def _states(task: Task) -> tuple[int, ...]:
        return (len(task.outputs),) if isinstance(task, Multiclass) else (len(task.outputs), 2)

    def counts(self, labels: Mapping[str, Tensor], share: float = 1.0) -> dict[str, TaskTerm]:
        """Return what :meth:`terms` will, with sums that mean nothing: labels alone decide the counts."""
        kinds = {"pseudo": self.pseudo.weight, "consistency": self.consistency}
        found = {}
        for kind, weight in kinds.items():
            for task in self.tasks if weight else ():
                y = labels[task.name]
                term = LossTerm(torch.zeros((), device=y.device), (y == MISSING).sum().float())
                found[f"{kind}:{task.name}"] = TaskTerm(task.name, share * weight, term)
        return found

    def terms(
        self,
        weak: Mapping[str, Tensor],
        strong: Mapping[str, Tensor],
        labels: Mapping[str, Tensor],
        *,
        teacher: Mapping[str, Tensor] | None = None,
        trust: Mapping[str, Tensor] | None = None,
        share: float = 1.0,
    ) -> dict[str, TaskTerm]:
        """Return the losses of this worker's inputs, or of a piece of them.

        Args:
            weak: logits of the weak view that pseudo-labels are read from, by task, shape (N, outputs).
            strong: logits of the strong view, by task.
            labels: by task; -1 where not annotated.
            teacher: the teacher's logits of the weak view, by task; needed for consistency.
            trust: of tables by edge, as :class:`mtlcore.JointLoss` takes it.
            share: by what weights are multiplied, for a warm-up.

        Raises:
            ValueError: consistency has a weight, and there is no teacher.
        """
        if self.consistency and teacher is None:
            raise ValueError("teacher: missing; consistency needs the logits of one")
        found: dict[str, TaskTerm] = {}
        for task in self.tasks if self.pseudo.weight else ():
            evidence = self._evidence(task, labels, trust)
            pseudo = self._labelled(task, weak[task.name].detach(), labels[task.name], evidence)
            term = pseudo_label_loss(strong[task.name], pseudo, labels[task.name], task)
            found[f"pseudo:{task.name}"] = TaskTerm(task.name, share * self.pseudo.weight, term)
        for task in self.tasks if self.consistency else ():
            assert teacher is not None
            term = consistency_loss(strong[task.name], teacher[task.name], labels[task.name], task)
            found[f"consistency:{task.name}"] = TaskTerm(task.name, share * self.consistency, term)
        return found

    def _labelled(self, task: Task, z: Tensor, y: Tensor, evidence: Tensor | None) -> Tensor:
        settings = self.pseudo
        agreement = settings.least_agreement if settings.relatedness == "agree" else None
        threshold: float | Tensor = settings.threshold
        if self._learned:
            prior = self._priors.get(task.name)
            if prior is not None and not isinstance(task, Multiclass):
                prior = torch.stack([1 - prior, prior], dim=1)
            threshold = flexible_thresholds(self._learned[task.name], self._seen[task.name], settings.threshold, prior)
            self._note(task, pseudo_labels(z, y, task, settings.threshold), y)
        return pseudo_labels(z, y, task, threshold, evidence=evidence, least_agreement=agreement)

    def _note(self, task: Task, sure: Tensor, y: Tensor) -> None:
        """Add a piece's sure predictions, at the common threshold, to those of the step."""
        states = self._states(task)[-1]
        learned = torch.stack([(sure == state).sum(dim=0) for state in range(states)], dim=-1).float()
        seen = (y == MISSING).sum(dim=0).float()
        before = self._collected.get(task.name)
        self._collected[task.name] = (learned, seen) if before is None else (before[0] + learned, before[1] + seen)

    def _evidence(self, task: Task, labels: Mapping[str, Tensor], trust: Mapping[str, Tensor] | None) -> Tensor | None:
        """Return what all related tasks' labels say of a task; None where they say nothing."""
        if self.pseudo.relatedness == "ignore":
            return None
        total: Tensor | None = None
        for R in self.tables:
            of_edge = None if trust is None else trust[R.key]
            said = None
            if R.source == task:
                said = evidence_for_source(labels[R.target.name], R, of_edge)
            elif R.target == task:
                prior = self._priors.get(task.name) if self.pseudo.relatedness == "join" else None
                said = evidence_for_target(labels[R.source.name], R, of_edge, prior)
            if said is not None:
                total = said if total is None else total + said
        return total

    def end_step(self) -> None:
        """Take a step's predictions into account in the next step's thresholds; all workers must call it."""
        if not self._collected:
            return
        names = sorted(self._collected)
        sums = SumOverWorkers([part for name in names for part in self._collected[name]]).wait()
        for i, name in enumerate(names):
            for kept, new in ((self._learned, sums[2 * i]), (self._seen, sums[2 * i + 1])):
                kept[name] = _MEMORY * kept[name].to(new) + new
        self._collected = {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on."""
        counts = {"learned": self._learned, "seen": self._seen}
        return {f"{kind}.{name}": tensor.clone() for kind, of in counts.items() for name, tensor in of.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned.

        Raises:
            ValueError: it is that of other settings or tasks.
        """
        if set(state) != set(self.state_dict()):
            raise ValueError(f"state: found {', '.join(state)}; expected {', '.join(self.state_dict())}")
        self._learned = {name: state[f"learned.{name}"].clone() for name in self._learned}
        self._seen = {name: state[f"seen.{name}"].clone() for name in self._seen}
