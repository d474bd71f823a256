"""Trust in a relatedness table, in [0, 1] for every cell: how far the data agree with it, estimated in training."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mtlcore.diagnostics.cell_trust import cell_trust
from mtlcore.diagnostics.evidence_stacks import EVIDENCE, EvidenceStacks
from mtlcore.diagnostics.observed_cells import ObservedCells, combined, from_A, from_B
from mtlcore.distributed import SumOverWorkers
from mtlcore.losses.loss_term import without_autocast
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import Multilabel, Task

__all__ = ["Observation", "RelatednessTrust", "cell_trust"]

Observation = Literal["nothing", "counts", "trust"]
_MEMORY = 0.99  # what is left of a step's evidence at the next: probes get better, so old evidence fades
_REFRESH = 5  # trust moves slowly, and a large table takes a while: it is computed anew every so many steps
# Wrong cells do their harm early, and have to be found early. Later every fourth step is enough, for a quarter of the
# cost, which is that of a hundred small operations: 4 % of a small CNN's step. From step 100 on was too early: with all
# rows of a table shuffled it lost a point.
_EVERY_STEP_UNTIL, _EVERY = 200, 4
_PROBE_LR = 3e-3


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
        self._stacks = EvidenceStacks(list(self.tasks.values()), self.relatednesses, self.rows)
        self._join()

    def _apply(self, fn: Any, recurse: bool = True) -> "RelatednessTrust":
        """Move the module, and join its buffers there again."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._join()
        return self

    def _join(self) -> None:
        """Let all evidence be views of one tensor, and all trust of another: a step adds to each of them once."""
        self._evidence, self._cells = (
            self._joined([f"{name}_{i}" for i in range(len(self.relatednesses)) for name in names])
            for names in (EVIDENCE, ("trust",))
        )
        if self.optimizer is not None:
            for group in self.optimizer.param_groups:  # what a graph of a GPU can hold, and no other device takes
                group["capturable"] = self._evidence.is_cuda

    def _joined(self, names: Sequence[str]) -> Tensor:
        buffers = [self.get_buffer(name) for name in names]
        if not buffers:
            return torch.zeros(0)
        joined = torch.cat([buffer.reshape(-1) for buffer in buffers])
        parts = joined.split([buffer.numel() for buffer in buffers])  # type: ignore[no-untyped-call]
        for name, buffer, part in zip(names, buffers, parts, strict=True):
            setattr(self, name, part.view(buffer.shape))
        return joined

    def observe(self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> None:
        """Take in a step's evidence, then train the probes on it; after 200 steps those of every fourth step.

        With data-parallel workers (``torch.distributed``) everything is summed over them, so that the estimate is the
        same on all and on any number of them. On a device it takes as many operations for any number of edges, and
        waits for none.

        Args:
            features: by task, what goes into its head, floating point, shape (N, features); no gradient flows back.
            labels: by task, integer, as :mod:`mtlcore.tasks` says.
        """
        self.update(self.collect(features, labels))

    def compile_evidence(self, **options: Any) -> None:
        """Have torch.compile fuse what a step counts, at its first use; ``options`` are its own."""
        self._stacks.compile(**options)

    def collect(self, features: Mapping[str, Tensor], labels: Mapping[str, Tensor]) -> SumOverWorkers:
        """Begin to observe: the sum over workers goes on beside other work until :meth:`update`.

        Args:
            features: as :meth:`observe` takes them.
            labels: as :meth:`observe` takes them.

        Returns:
            what was seen, for :meth:`update`: counts of annotations, the probes' gradients, and evidence.
        """
        if self.optimizer is None or self.next_kind() == "nothing":
            return SumOverWorkers([])
        first = next(iter(features.values()))
        with without_autocast(first.device), torch.no_grad():
            # Of features as they are, without a gradient: the network must train as if nobody asked.
            h = {name: features[name].detach().flatten(1).float() for name in self.tasks}
            if all(features[name] is features[next(iter(self.tasks))] for name in self.tasks):
                h = dict.fromkeys(self.tasks, h[next(iter(self.tasks))])
            probes = {name: self.probes[f"{name}_probe"] for name in self.tasks}
            return SumOverWorkers(self._stacks.seen(h, probes, labels, self._evidence))

    def next_kind(self) -> Observation:
        """Say what the next :meth:`update` does: nothing, count what was seen, or compute trust anew as well."""
        step = self._steps_before()
        if self.optimizer is None or not (step < _EVERY_STEP_UNTIL or step % _EVERY == 0):
            return "nothing"
        return "trust" if (step + 1) % _REFRESH == 0 or step >= _EVERY_STEP_UNTIL else "counts"

    def _steps_before(self) -> int:
        if self._steps is None:
            self._steps = int(self.get_buffer("steps"))
        return self._steps

    def update(self, evidence: SumOverWorkers) -> None:
        """Train the probes on what was seen, and add it to the evidence."""
        self.take_in(evidence, self.next_kind())
        self.count_step()

    def count_step(self) -> None:
        """Count a step, after :meth:`take_in`."""
        if self.optimizer is not None:
            self._steps = self._steps_before() + 1
            self.get_buffer("steps").fill_(self._steps)

    @torch.no_grad()
    def take_in(self, evidence: SumOverWorkers, kind: Observation) -> None:
        """Do what :meth:`update` does on the device, and what a GPU may repeat by itself.

        Args:
            evidence: as :meth:`collect` returned it.
            kind: as :meth:`next_kind` says.
        """
        if self.optimizer is None or kind == "nothing":
            return
        counts, of_weights, of_biases, seen = evidence.wait()
        of_weights, of_biases = self._stacks.means(counts, of_weights, of_biases)
        first = 0
        for name, task in self.tasks.items():
            probe, last = self.probes[f"{name}_probe"], first + len(task.outputs)
            assert isinstance(probe, nn.Linear)
            probe.weight.grad = of_weights[first:last, : probe.in_features].contiguous()
            probe.bias.grad = of_biases[first:last]
            first = last
        self.optimizer.step()
        # Probes of the first steps know nothing: their evidence fades first.
        memory = (1 - 2 / (self.get_buffer("steps").double() + 2)).clamp(max=_MEMORY).float()
        self._evidence.mul_(memory).add_(seen)
        if kind == "trust":
            self._cells.copy_(self._stacks.trust(self._evidence))

    def by_edge(self) -> dict[str, Tensor]:
        """Return the trust of every cell by edge (``A->B``), float32, shape (outputs of A, outputs of B), in [0, 1].

        1 where the table is unknown.
        """
        sizes = [R.table.numel() for R in self.relatednesses]
        parts = torch.split(self._cells.clone(), sizes)
        return {R.key: part.view(R.table.shape) for R, part in zip(self.relatednesses, parts, strict=True)}

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
