"""Trust in a relatedness table, in [0, 1] for every cell: how far the data agree with it, estimated in training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mtlcore.diagnostics.observed_cells import ObservedCells, class_profile, classes_of, combined, from_A, from_B
from mtlcore.distributed import SumOverWorkers
from mtlcore.losses.supervised import supervised_loss
from mtlcore.relatedness.device_cache import cached_on_device, identity_view
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task

# A cell that lies beyond its interval by no more than TRUSTED keeps its trust, one from DOUBTED on has none.
TRUSTED, DOUBTED = 0.3, 0.5
_MEMORY = 0.99  # what is left of a step's evidence at the next: probes get better, so old evidence fades
_REFRESH = 5  # trust moves slowly, and a large table takes a while: it is computed anew every so many steps
# Wrong cells do their harm early, and have to be found early. Later every fourth step is enough, for a quarter of the
# cost, which is that of a hundred small operations: 4 % of a small CNN's step. From step 100 on was too early: with all
# rows of a table shuffled it lost a point.
_EVERY_STEP_UNTIL, _EVERY = 200, 4
_PROBE_LR = 3e-3
_EVIDENCE = ("from_A", "from_not_A", "from_B", "confusion")


class RelatednessTrust(nn.Module):
    r"""Estimate how far each cell of each relatedness table is borne out, while a network trains.

    People's tables are wrong, and a wrong cell teaches wrong labels. This asks the data. Every task gets a *probe*: a
    linear classifier of its own on the network's features (held constant), trained on that task's annotations alone,
    so that no relatedness, right or wrong, ever taught it. Two ways lead to what a cell R[c, l] should be.

    1. Inputs annotated as class c of A; B's probe says how often l holds among them. Each batch is scored before the
       probe learns from it, and its true and false positive rates, counted on B's annotations in the same way,
       correct the share (W. J. Rogan and B. Gladen, American Journal of Epidemiology 1978):
       :math:`(m - \mathrm{fpr}) / (\mathrm{tpr} - \mathrm{fpr})`. What the probe is unsure of bounds it.
    2. Inputs annotated for B; which class each is of is weighed by A's probe and by its labels of B themselves, which
       are read with the profiles of the first way, not with the table:
       :math:`r[c] \propto (0.7 \, p_A[c] + 0.3 / C) \prod_l m[c, l]^{y_l} (1 - m[c, l])^{1 - y_l}`. The share of r
       that lies on other classes bounds it, as with contaminated data (J. Horowitz and C. Manski, "Identification and
       robustness with contaminated and corrupted data", Econometrica 1995).

    Annotations of both tasks on one input are counted as they are. Each way gives an interval (Wilson's, of the
    distinct inputs that it rests on, widened by its bound); the two are averaged, weighed by their squared width. A
    cell that lies beyond its interval by more than 0.3 is doubted, from 0.5 on wholly:

    .. math:: t[c, l] = 1 - \mathrm{clip}\left(\frac{d[c, l] - 0.3}{0.5 - 0.3}, 0, 1\right), \qquad
              d = \max(\mathrm{low} - R, R - \mathrm{high})

    The losses take a doubted cell for an unknown one, as far as it is doubted. A cell that the data cannot judge has
    a wide interval and stays trusted: trust begins at 1. For a multiclass B a row is trusted as its least trusted
    cell. For a multilabel A a cell is doubted only where it is too large, because other labels that hold along with
    it may bring a label of B about as well.

    What it is not: a probability that the cell is right; a test of small errors (0.8 for 0.95). Where two classes
    look alike to A's probe and differ in one label alone, that label is judged late or not. Probes that learn
    nothing doubt nothing. Kindred's own; not in the paper.

    Args:
        relatednesses: the edges.
        features: by task, the number of features that go into its head.
        rows: by task, how many inputs are annotated for it in all; without it every input that is seen counts as
            another, and intervals are too narrow where few inputs are gone through many times.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, Relatedness, RelatednessTrust
        >>> A, B = Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))
        >>> R = Relatedness.from_rows(A, B, {"cat": "furry", "crow": "flies"})
        >>> trust = RelatednessTrust([R], {"species": 4, "traits": 4})
        >>> h = torch.zeros(64, 4)
        >>> cats_are_bald = {"species": torch.tensor([0, 1] * 32), "traits": torch.tensor([[0, 0], [0, 1]] * 32)}
        >>> for _ in range(20):
        ...     trust.observe({"species": h, "traits": h}, cats_are_bald)
        >>> trust.by_edge()["species->traits"]
        tensor([[0., 1.],
                [1., 1.]])
    """

    def __init__(
        self,
        relatednesses: Sequence[Relatedness],
        features: Mapping[str, int],
        rows: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.relatednesses = tuple(relatednesses)
        self.rows = dict(rows or {})
        self.tasks: dict[str, Task] = {}
        for R in self.relatednesses:
            self.tasks |= {R.source.name: R.source, R.target.name: R.target}
        self.probes = nn.ModuleDict(
            {f"{name}_probe": _zero_linear(features[name], len(task.outputs)) for name, task in self.tasks.items()}
        )
        self.optimizer = torch.optim.Adam(self.probes.parameters(), lr=_PROBE_LR, fused=True) if self.tasks else None
        self.register_buffer("steps", torch.zeros(()))
        self._steps: int | None = None  # the same, without waiting for the device
        for i, R in enumerate(self.relatednesses):
            cells = R.table.shape
            negatives = cells if isinstance(R.source, Multilabel) else (0, cells[1])
            self.register_buffer(f"from_A_{i}", torch.zeros(5, *cells))
            self.register_buffer(f"from_not_A_{i}", torch.zeros(5, *negatives))
            self.register_buffer(f"from_B_{i}", torch.zeros(3, *cells))
            self.register_buffer(f"confusion_{i}", torch.zeros(4, cells[1]))
            self.register_buffer(f"trust_{i}", torch.ones(cells))
        self.register_load_state_dict_post_hook(_forget_steps)  # type: ignore[no-untyped-call]

    def observe(self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Take in a step's evidence, then train the probes on it; after 200 steps those of every fourth step.

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
        if self.optimizer is None or not self._is_due():
            return SumOverWorkers([])
        device = next(iter(features.values())).device.type
        with torch.autocast(device, enabled=False):
            terms, logits = {}, {}
            for name, task in self.tasks.items():
                # Of features as they are, without a gradient: the network must train as if nobody asked.
                h = features[name].detach().flatten(1).float()
                z = self.probes[f"{name}_probe"](F.layer_norm(h, h.shape[1:]))
                terms[name] = supervised_loss(z, labels[name], _plain(task))
                logits[name] = z.detach()
            gradients = torch.autograd.grad([term.total for term in terms.values()], list(self.probes.parameters()))
            evidence = [part for i in range(len(self.relatednesses)) for part in self._evidence(i, logits, labels)]
        return SumOverWorkers([*(term.count.detach() for term in terms.values()), *gradients, *evidence])

    @torch.no_grad()
    def _evidence(self, i: int, logits: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Return this batch's part of everything in _EVIDENCE."""
        A, B = self.relatednesses[i].source, self.relatednesses[i].target
        p_A, y_A, has_A = _seen(logits[A.name], labels[A.name], A)
        p_B, y_B, has_B = _seen(logits[B.name], labels[B.name], B)
        state = {name: self.get_buffer(f"{name}_{i}") for name in _EVIDENCE}
        profile = class_profile(state["from_A"], state["confusion"], B)
        negative_profile = (
            class_profile(state["from_not_A"], state["confusion"], B) if isinstance(A, Multilabel) else None
        )
        inputs = has_B.amax(dim=1, keepdim=True) * (1 - has_A)  # what both annotate is counted from A's side
        # Read with what the data have shown, not with the table: a wrong cell must not vouch for itself.
        r = classes_of(p_A, y_B, has_B, profile, negative_profile, B) * inputs
        missing, holds = 1 - has_B, has_B * y_B
        parts = [has_B, holds, missing, missing * p_B, missing * 2 * p_B * (1 - p_B)]
        # One product for all five sums: they share the left factor, and are small.
        side_by_side = torch.cat(parts, dim=1)

        def counted(of_class: Tensor) -> Tensor:
            product = of_class.t() @ side_by_side
            return product.reshape(len(product), len(parts), has_B.shape[1]).transpose(0, 1).contiguous()

        negatives = (1 - y_A) * has_A if isinstance(A, Multilabel) else y_A[:, :0]
        by_B = torch.stack([r.t() @ has_B, r.t() @ holds, r.square().t() @ has_B])
        not_holds = has_B - holds
        confusion = torch.stack([(p_B * holds).sum(0), holds.sum(0), (p_B * not_holds).sum(0), not_holds.sum(0)])
        return counted(y_A * has_A), counted(negatives), by_B, confusion

    @torch.no_grad()
    def update(self, evidence: SumOverWorkers) -> None:
        """Train the probes on what was seen, and add it to the evidence."""
        if self.optimizer is None:
            return
        due, step = self._is_due(), self._steps_before() + 1
        self._steps = step
        self.get_buffer("steps").fill_(step)
        if not due:
            return
        parts = iter(evidence.wait())
        counts = {name: next(parts) for name in self.tasks}
        for name, count in counts.items():
            for parameter in self.probes[f"{name}_probe"].parameters():
                # A mean over annotated entries; fused Adam takes no other layout than the parameter's.
                parameter.grad = (next(parts) / count.clamp(min=1)).contiguous()
        self.optimizer.step()
        memory = min(_MEMORY, 1 - 2 / (step + 1))  # probes of the first steps know nothing: their evidence fades first
        for i in range(len(self.relatednesses)):
            for name in _EVIDENCE:
                self.get_buffer(f"{name}_{i}").mul_(memory).add_(next(parts))
            if step % _REFRESH == 0 or step > _EVERY_STEP_UNTIL:
                self.get_buffer(f"trust_{i}").copy_(cell_trust(self.relatednesses[i], self._observed(i)))

    def _steps_before(self) -> int:
        if self._steps is None:
            self._steps = int(self.get_buffer("steps"))
        return self._steps

    def _is_due(self) -> bool:
        step = self._steps_before()
        return step < _EVERY_STEP_UNTIL or step % _EVERY == 0

    def by_edge(self) -> dict[str, Tensor]:
        """Return the trust of every cell by edge (``A->B``), float32, shape (outputs of A, outputs of B), in [0, 1].

        1 where the table is unknown.
        """
        return {R.key: self.get_buffer(f"trust_{i}").clone() for i, R in enumerate(self.relatednesses)}

    def observed(self) -> dict[str, ObservedCells]:
        """Return what the data show of every cell by edge (``A->B``), whatever its table says."""
        return {R.key: self._observed(i) for i, R in enumerate(self.relatednesses)}

    @torch.no_grad()
    def _observed(self, i: int) -> ObservedCells:
        R = self.relatednesses[i]
        by_A, confusion, by_B = (self.get_buffer(f"{name}_{i}") for name in ("from_A", "confusion", "from_B"))
        return combined(
            from_A(by_A, confusion, R.target, self.rows.get(R.source.name)),
            from_B(by_B, self.rows.get(R.target.name)),
        )


def cell_trust(relatedness: Relatedness, observed: ObservedCells) -> Tensor:
    """Compare the cells of a table with what was observed; see :class:`RelatednessTrust`.

    Args:
        relatedness: R, of C by L cells.
        observed: of the same cells.

    Returns:
        trust, float32, shape (C, L), in [0, 1]; 1 where the table is unknown.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, Multilabel, ObservedCells, Relatedness
        >>> A, B = Multiclass("species", ("penguin", "crow")), Multilabel("traits", ("flies",))
        >>> R = Relatedness.from_rows(A, B, {"penguin": {"flies": 0.95}, "crow": {"flies": 0.95}})
        >>> share = torch.tensor([[0.03], [0.9]])
        >>> cell_trust(R, ObservedCells(share, share - 0.02, share + 0.05))
        tensor([[0.],
                [1.]])
    """
    table = cached_on_device(relatedness, identity_view, observed.low.device, observed.low.dtype)
    beyond = table - observed.high
    # Too small a cell is no mistake where other labels of A may be the cause.
    if isinstance(relatedness.source, Multiclass):
        beyond = torch.maximum(beyond, observed.low - table)
    beyond = beyond.nan_to_num(0.0).clamp(min=0)
    if isinstance(relatedness.target, Multiclass):
        beyond = beyond.amax(dim=1, keepdim=True).expand_as(beyond)
    return 1 - ((beyond - TRUSTED) / (DOUBTED - TRUSTED)).clamp(0, 1)


def _plain(task: Task) -> Task:
    """Return a task without a loss of its own: a probe is to state shares as they are, rare classes included."""
    return replace(task, loss=None) if isinstance(task, Multiclass | Multilabel) else task


def _forget_steps(trust: RelatednessTrust, _: object) -> None:
    # A checkpoint's count stands in the buffer alone.
    trust._steps = None


def _zero_linear(features: int, outputs: int) -> nn.Linear:
    """Return a linear layer that starts at zero, and so draws no random number."""
    # Probes must not move the random numbers that the network itself is drawn from.
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(features, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _seen(logits: Tensor, y: Tensor, task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return by output the probe's probability, the label (0 where there is none), and 1 where there is one."""
    annotated = (y != MISSING).to(logits)
    if isinstance(task, Multiclass):
        labels = F.one_hot(y.clamp(min=0).long(), logits.shape[1]).to(logits) * annotated[:, None]
        return torch.softmax(logits, dim=1), labels, annotated[:, None].expand_as(logits)
    return torch.sigmoid(logits), y.clamp(min=0).to(logits), annotated
