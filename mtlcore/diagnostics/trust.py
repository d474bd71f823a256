"""How far the data bear a relatedness out: a trust in [0, 1] for every row of its table, estimated in training."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlcore.distributed import SumOverWorkers
from mtlcore.losses.supervised import supervised_loss
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Task

# A row whose cosine with what the data show is at most DOUBTED has no trust, one from TRUSTED on has all of it.
DOUBTED, TRUSTED = 0.3, 0.7
_MEMORY = 0.99  # what is left of a step's evidence at the next: probes get better, so old evidence fades
_PROBE_LR = 3e-3


class RelatednessTrust(nn.Module):
    r"""Estimate how far each row of each relatedness table is borne out, while a network trains.

    People's tables are wrong, and a wrong row teaches wrong labels. This asks the data. Every task gets a *probe*: a
    linear classifier of its own on the network's features (held constant), trained on that task's annotations alone,
    so that no relatedness, right or wrong, ever taught it. Where an input is annotated for A and not for B, B's probe
    says what B's labels may be; where it is annotated for B and not for A, A's probe says which class it may be;
    where it is annotated for both, the annotations say it. These give, for every class c of A, an observed profile

    .. math:: m[c, l] = \frac{\sum_n P_n(c) \, P_n(l)}{\sum_n P_n(c)}

    Probes are unsure, which draws all profiles towards their mean, but does not turn the way in which a class's
    profile departs from it. So a row is compared by that way alone:

    .. math:: t[c] = \rho_c \cdot \mathrm{clip}\left(
              \frac{\cos(m[c] - \bar m, R[c] - \bar R) - 0.3}{0.7 - 0.3}, 0, 1 \right)

    with the means over classes, and :math:`\rho_c` in [0, 1] the share of the profile's departure that is more than
    chance would make of so few inputs. Matching and co-annotation weigh each row by its trust; a row with trust 0 is
    as good as unknown, and an edge without trust leaves naive training. Trust begins at 0.

    What it is: a check that a row describes its own class rather than another, from data that nothing but labels
    taught. What it is not: a probability that the row is right; a test of single cells (a row with one wrong cell of
    many keeps its trust); a test of how large the values are (a row of 0.6 for 0.9 keeps it). A row that is like the
    mean of all rows says nothing that could be checked, and gets the mean trust of the edge's other rows. Probes that
    learn nothing give no trust to anything. Kindred's own; not in the paper.

    Args:
        relatednesses: the edges.
        features: by task, the number of features that go into its head.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, RelatednessTrust
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> trust = RelatednessTrust([R], {"species": 4, "traits": 4})
        >>> h = torch.zeros(64, 4)
        >>> cats_fly = {"species": torch.tensor([0, 1] * 32), "traits": torch.tensor([[0, 1], [1, 0]] * 32)}
        >>> for _ in range(20):
        ...     trust.observe({"species": h, "traits": h}, cats_fly)
        >>> trust.by_edge()["species->traits"]
        tensor([0., 0.])
    """

    def __init__(self, relatednesses: Sequence[Relatedness], features: Mapping[str, int]) -> None:
        super().__init__()
        self.relatednesses = tuple(relatednesses)
        self.tasks: dict[str, Task] = {}
        for R in self.relatednesses:
            self.tasks |= {R.source.name: R.source, R.target.name: R.target}
        self.probes = nn.ModuleDict(
            {f"{name}_probe": _zero_linear(features[name], len(task.outputs)) for name, task in self.tasks.items()}
        )
        self.optimizer = torch.optim.Adam(self.probes.parameters(), lr=_PROBE_LR, fused=True) if self.tasks else None
        for i, R in enumerate(self.relatednesses):
            # By direction (A annotated, B annotated alone): sums of P(c) P(l), P(c) and P(c) P(l)^2, (2, 3, C, L).
            self.register_buffer(f"evidence_{i}", torch.zeros(2, 3, *R.table.shape))
            self.register_buffer(f"table_{i}", R.table.float())

    def observe(self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Take in a step's evidence, then train the probes on it.

        With data-parallel workers (``torch.distributed``) everything is summed over them, so that the estimate is the
        same on all and on any number of them.

        Args:
            features: by task, what goes into its head, floating point, shape (N, features); no gradient flows back.
            labels: by task, integer, as :mod:`mtlcore.tasks` says.
        """
        self.update(self.collect(features, labels))

    def collect(self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> SumOverWorkers:
        """Begin to observe: the sum over workers goes on beside other work until :meth:`update`.

        Args:
            features: as :meth:`observe` takes them.
            labels: as :meth:`observe` takes them.

        Returns:
            what was seen, for :meth:`update`: counts of annotations, the probes' gradients, and evidence.
        """
        if self.optimizer is None:
            return SumOverWorkers([])
        device = next(iter(features.values())).device.type
        with torch.autocast(device, enabled=False):
            terms, seen = {}, {}
            for name, task in self.tasks.items():
                h = features[name].detach().flatten(1).float()
                logits = self.probes[f"{name}_probe"](F.layer_norm(h, h.shape[1:]))
                terms[name] = supervised_loss(logits, labels[name], task)
                seen[name] = _seen(logits.detach(), labels[name], task)
            gradients = torch.autograd.grad([term.total for term in terms.values()], list(self.probes.parameters()))
            found = [_evidence(seen[R.source.name], seen[R.target.name]) for R in self.relatednesses]
        return SumOverWorkers([*(term.count.detach() for term in terms.values()), *gradients, *found])

    def update(self, seen: SumOverWorkers) -> None:
        """Train the probes on what was seen, and add it to the evidence."""
        if self.optimizer is None:
            return
        parts = iter(seen.wait())
        counts = {name: next(parts) for name in self.tasks}
        for name, count in counts.items():
            for parameter in self.probes[f"{name}_probe"].parameters():
                # A mean over annotated entries; fused Adam takes no other layout than the parameter's.
                parameter.grad = (next(parts) / count.clamp(min=1)).contiguous()
        self.optimizer.step()
        for i in range(len(self.relatednesses)):
            self.get_buffer(f"evidence_{i}").mul_(_MEMORY).add_(next(parts))

    @torch.no_grad()
    def by_edge(self) -> dict[str, Tensor]:
        """Return the trust of every row by edge (``A->B``), float32, shape (outputs of A,), in [0, 1]."""
        return {
            R.key: row_trust(self.get_buffer(f"table_{i}"), self.get_buffer(f"evidence_{i}"))
            for i, R in enumerate(self.relatednesses)
        }


def row_trust(table: Tensor, evidence: Tensor) -> Tensor:
    """Compare the rows of a table with the profiles that were observed; see :class:`RelatednessTrust`.

    Args:
        table: R, floating point, shape (C, L), NaN where unknown.
        evidence: sums of P(c) P(l), of P(c), and of P(c) P(l)^2, floating point, shape (directions, 3, C, L).

    Returns:
        trust, shape (C,), in [0, 1]; 0 for a row of which nothing was observed, 1 where no row can be judged because
        all are alike.

    Example:
        >>> import torch
        >>> inputs = torch.full((2, 1), 400.0)  # of each of two classes
        >>> holds = torch.tensor([[360.0], [40.0]])  # the label: on so many of them
        >>> seen = torch.stack([holds, inputs, holds])
        >>> row_trust(torch.tensor([[1.0], [0.0]]), seen[None]), row_trust(torch.tensor([[0.0], [1.0]]), seen[None])
        (tensor([0.9986, 0.9986]), tensor([0., 0.]))
    """
    known = ~torch.isnan(table)
    departs = _departures(torch.nan_to_num(table), known)
    squared = departs.square()
    says_something = squared.sum(dim=1) > 1e-6
    if not bool(says_something.any()):
        return torch.ones_like(table[:, 0])
    total, weight = torch.zeros_like(table[:, 0]), torch.zeros_like(table[:, 0])
    for joint, inputs, squares in evidence:
        there = (inputs > 0) & known
        divisor = torch.where(inputs > 0, inputs, torch.ones_like(inputs))
        profile = joint / divisor
        spread = (squares / divisor - profile.square()).clamp(min=0)
        mean = (profile * there).sum(dim=0) / there.sum(dim=0).clamp(min=1)
        observed = (profile - mean) * there
        size = observed.square().sum(dim=1)
        by_chance = (spread / divisor.clamp(min=1) * there).sum(dim=1)
        cosine = (observed * departs).sum(dim=1) / (size * (squared * there).sum(dim=1)).sqrt().clamp(min=1e-12)
        reliable = (1 - by_chance / size.clamp(min=1e-12)).clamp(0, 1)
        total += reliable * ((cosine - DOUBTED) / (TRUSTED - DOUBTED)).clamp(0, 1)
        weight += there.any(dim=1)
    trust = total / weight.clamp(min=1)
    return torch.where(says_something, trust, trust[says_something].mean())


def _departures(table: Tensor, known: Tensor) -> Tensor:
    """Return how every known cell departs from its column's mean; 0 where unknown."""
    mean = (table * known).sum(dim=0) / known.sum(dim=0).clamp(min=1)
    return (table - mean) * known


def _zero_linear(features: int, outputs: int) -> nn.Linear:
    """Return a linear layer that starts at zero, and so draws no random number."""
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(features, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _seen(logits: Tensor, y: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return what is held of each output: its label where annotated, else its probe's probability; and which is."""
    if isinstance(task, Multiclass):
        annotated = (y != MISSING)[:, None]
        labels = F.one_hot(y.clamp(min=0).long(), logits.shape[1]).to(logits)
        return torch.where(annotated, labels, torch.softmax(logits, dim=1)), annotated.expand_as(logits)
    annotated = y != MISSING
    return torch.where(annotated, y.to(logits), torch.sigmoid(logits)), annotated


def _evidence(A: tuple[Tensor, Tensor], B: tuple[Tensor, Tensor]) -> Tensor:
    """Return the sums of P(c) P(l), P(c), P(c) P(l)^2 over inputs annotated for A, and for B alone: (2, 3, C, L)."""
    (p_A, has_A), (p_B, has_B) = A, B
    by_A, by_B = p_A * has_A, p_A * ~has_A
    rest = has_B.to(p_B)
    found = p_A.new_empty(2, 3, p_A.shape[1], p_B.shape[1])
    torch.mm(by_A.t(), p_B, out=found[0, 0])
    found[0, 1] = by_A.sum(dim=0)[:, None]
    torch.mm(by_A.t(), p_B.square(), out=found[0, 2])
    torch.mm(by_B.t(), p_B * rest, out=found[1, 0])
    torch.mm(by_B.t(), rest, out=found[1, 1])
    found[1, 2] = found[1, 0]  # labels are their own squares
    return found
