"""Label shift: how often classes hold in data without labels of them, where a network learned from other shares."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mtlcore.distributed import SumOverWorkers
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING

_STEP = 0.02  # of the running estimate, a step: it looks back some fifty steps


def prior_by_em(p: Tensor, prior: Tensor, rounds: int = 100) -> Tensor:
    r"""Estimate the class prior of inputs from a classifier's probabilities, by expectation maximisation.

    .. math:: r[n, c] \propto p[n, c] \, \pi'[c] / \pi[c], \qquad \pi'[c] = \frac{1}{N} \sum_n r[n, c]

    M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities: a
    simple procedure", Neural Computation 2002. It is as good as the probabilities are calibrated.

    Args:
        p: the classifier's probabilities, shape (N, C).
        prior: pi, that of the data it learned from, shape (C,), > 0.
        rounds: how often the two are computed in turn.

    Returns:
        pi', shape (C,), which sums to 1.

    Example:
        >>> p = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
        >>> prior_by_em(p, torch.tensor([0.5, 0.5]))[0] > 0.6
        tensor(True)
    """
    found = prior / prior.sum()
    for _ in range(rounds):
        r = p * (found / prior)
        found = (r / r.sum(dim=1, keepdim=True)).mean(dim=0)
    return found


def prior_by_confusion(confusion: Tensor, predicted: Tensor) -> Tensor:
    r"""Estimate the class prior of inputs from what a classifier predicts there, and its confusion on held-out data.

    .. math:: w = \hat C^{-1} \hat \mu, \qquad \pi'[c] \propto \max(w[c], 0) \, \pi[c]

    Z. Lipton, Y.-X. Wang, A. Smola, "Detecting and Correcting for Label Shift with Black Box Predictors", ICML 2018
    (BBSE); a singular matrix is inverted as far as it can be.

    Args:
        confusion: C[k, c], the share of held-out inputs of class c that are predicted as k; sums to 1, shape (C, C).
        predicted: mu, the share of the new inputs that are predicted as each class, shape (C,).

    Returns:
        pi', shape (C,), which sums to 1.

    Example:
        >>> confusion = torch.tensor([[0.4, 0.1], [0.1, 0.4]])  # right four times in five
        >>> prior_by_confusion(confusion, torch.tensor([0.68, 0.32]))
        tensor([0.8000, 0.2000])
    """
    weights = torch.linalg.lstsq(confusion.double(), predicted.double()[:, None], driver="gelsd").solution[:, 0]
    found = weights.clamp(min=0.0) * confusion.double().sum(dim=0)
    prior: Tensor = found / found.sum()
    return prior.to(predicted.dtype)


class ShiftedPriors:
    r"""A running estimate, while a network trains, of A's class prior among the inputs annotated for B.

    :func:`prior_by_em` with one batch at a time (O. Cappe, E. Moulines, "On-line expectation-maximization algorithm for
    latent data models", JRSS B 2009): every step moves the prior by 0.02 towards the mean of r over the batch's inputs
    that are annotated for B and not for A. It begins as the prior of A's own labels.

    Args:
        tables: of the edges, each from a multiclass A.
        priors: by A's name, the prior of A's labels, > 0.

    Example:
        >>> from mtlcore import Multiclass, Multilabel
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"cat": [], "crow": "flies"})
        >>> shifted = ShiftedPriors([R], {"species": (0.5, 0.5)})
        >>> logits, labels = {"species": torch.tensor([[9.0, 0.0]])}, {"species": torch.tensor([-1])}
        >>> for _ in range(100):
        ...     shifted.collect(logits, labels | {"traits": torch.tensor([[0]])})
        ...     shifted.end_step()
        >>> shifted.by_edge()["species->traits"]
        tensor([0.9337, 0.0663])
    """

    def __init__(self, tables: Sequence[Relatedness], priors: Mapping[str, Sequence[float]]) -> None:
        self._ends = {R.key: (R.source.name, R.target.name) for R in tables}
        self._own = {R.key: torch.tensor(priors[R.source.name], dtype=torch.float32) for R in tables}
        self._own = {key: prior / prior.sum() for key, prior in self._own.items()}
        self._prior = {key: prior.clone() for key, prior in self._own.items()}
        self._collected: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def collect(self, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Look at this worker's inputs of a step, or at a piece of them.

        Args:
            logits: by task, shape (N, outputs).
            labels: by task; -1 where not annotated.
        """
        for key, (source, target) in self._ends.items():
            of_target = labels[target] != MISSING
            there = (of_target if of_target.dim() == 1 else of_target.any(dim=1)) & (labels[source] == MISSING)
            z = logits[source].float()
            ratio = (self._prior[key].to(z) / self._own[key].to(z)).log()
            total = (torch.softmax(z + ratio, dim=1) * there[:, None]).sum(dim=0), there.sum().float()
            before = self._collected.get(key)
            self._collected[key] = total if before is None else (before[0] + total[0], before[1] + total[1])

    def end_step(self) -> None:
        """Take what was collected into account; all workers must call it."""
        keys = sorted(self._collected)
        sums = SumOverWorkers([part for key in keys for part in self._collected[key]]).wait()
        for i, key in enumerate(keys):
            total, count = sums[2 * i], sums[2 * i + 1]
            before = self._prior[key].to(total)
            mean = torch.where(count > 0, total / count.clamp(min=1.0), before)
            self._prior[key] = before + _STEP * (mean - before)
        self._collected = {}

    def by_edge(self) -> dict[str, Tensor]:
        """Return the estimates by edge (``A->B``), each of shape (C,)."""
        return dict(self._prior)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on."""
        return {key: prior.clone() for key, prior in self._prior.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned.

        Raises:
            ValueError: it is that of other edges.
        """
        if set(state) != set(self._prior):
            raise ValueError(f"state: found {', '.join(state)}; expected {', '.join(self._prior)}")
        self._prior = {key: prior.clone() for key, prior in state.items()}
