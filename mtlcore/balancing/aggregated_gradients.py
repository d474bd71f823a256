"""Gradient balancing: TorchJD's aggregators applied to the Jacobian of the objectives over the global batch."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from mtlcore.balancing.aggregator_state import aggregator_state, load_aggregator_state
from mtlcore.balancing.balancer import Balancer
from mtlcore.balancing.jacobian import add_to_grad, global_jacobian, jacobian_dtype
from mtlcore.balancing.seeds import seed_of_step
from mtlcore.balancing.torchjd_aggregators import AGGREGATORS, build_aggregator
from mtlcore.losses.joint_loss import JointLossValue
from mtlcore.networks import seeded_init


class AggregatedGradients(Balancer):
    r"""Combine the objectives' gradients of the shared parameters by an aggregator of TorchJD.

    The Jacobian J of the shared parameters, a row an objective, is summed over all workers BEFORE the aggregator
    sees it, so every worker computes the same update, the one that a single worker would. Parameters that are not
    shared (heads) get the plain sum of the objectives' gradients. A backward pass per objective; memory for m
    gradients of the shared parameters; one collective. A network may be wrapped in DistributedDataParallel, which
    has nothing to do here.

    An aggregator whose weights sum to 1 is multiplied by m. What is random is drawn from the seed and the step, the
    same on all workers. Gradients that are not finite are passed on as their sum, for the caller's check to find.

    ==================  ==============================================================================================
    method              paper
    ==================  ==============================================================================================
    aligned_mtl         Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023
    cagrad              Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021
    config              Liu et al., "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks",
                        ICLR 2025
    constant            a weighted sum; weights of the shared parameters' gradients alone
    dualproj            Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, eq. 11
    excess_mtl          He et al., "Robust Multi-Task Learning with Excess Risks", ICML 2024
    fairgrad            Ban and Ji, "Fair Resource Allocation in Multi-Task Learning", ICML 2024
    graddrop            Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
                        NeurIPS 2020
    gradvac             Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in
                        Massively Multilingual Models", ICLR 2021
    imtl_g              Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021
    krum                Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
                        NeurIPS 2017
    mean                the mean of the gradients
    mgda                Desideri, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", C. R.
                        Math. 2012; Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization",
                        NeurIPS 2018
    nash_mtl            Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022
    pcd                 "Not All Objectives Are Born Equal: Priority-Constrained Descent for Hierarchical
                        Multi-Objective Optimization", TMLR 2026 (the first task is the primary one)
    pcgrad              Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020
    random_gradients    Lin et al., "Reasonable Effectiveness of Random Weighting", TMLR 2022, algorithm 2
    sum                 the sum of the gradients, as in plain training
    trimmed_mean        Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
                        ICML 2018
    upgrad              Quinton and Rey, "Jacobian Descent for Multi-Objective Optimization", arXiv 2406.16232 (2024)
    ==================  ==============================================================================================

    Args:
        method: one of the above.
        objectives: their names.
        shared: the parameters that all objectives share.
        others: all other parameters that are trained.
        seed: of what is drawn at random.
        options: the aggregator's own; a number by objective is given as a mapping.

    Raises:
        ValueError: an option is wrong, there are too few objectives, or a package is missing.
    """

    def __init__(
        self,
        method: str,
        objectives: Sequence[str],
        shared: Sequence[Tensor],
        others: Sequence[Tensor],
        *,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(objectives)
        self._entry = AGGREGATORS[method]
        self._shared = [parameter for parameter in shared if parameter.requires_grad]
        taken = {id(parameter) for parameter in self._shared}
        self._others = [p for p in others if p.requires_grad and id(p) not in taken]
        like = torch.zeros((), dtype=jacobian_dtype(self._shared), device=next((p.device for p in self._shared), None))
        self._aggregator = build_aggregator(method, self.objectives, options, like)
        self._seed, self._step = seed, 0

    def backward(self, value: JointLossValue) -> None:
        """Find the Jacobian over the global batch, aggregate it, and add the result to ``.grad``."""
        self._check_objectives(value)
        shares, present = zip(*value.objectives.values(), strict=True)
        with torch.autocast(shares[0].device.type, enabled=False):
            J, of_others = global_jacobian(shares, self._shared, self._others)
            add_to_grad(self._aggregate(J, torch.stack(present)), self._shared)
            add_to_grad(of_others, self._others)
        self._step += 1

    def _aggregate(self, J: Tensor, present: Tensor) -> Tensor:
        # Solvers given NaN loop or raise; a sum leaves the loss's own check to say what happened, and where.
        if not J.isfinite().all():
            return J.sum(dim=0)
        if self._entry.skips_absent:
            # A row of zeros is no objective that is met: min-norm methods would take it for the solution.
            J = J[present]
        # All at a minimum, or nothing labelled in this batch: there is no direction to look for.
        if not J.any():
            return J.sum(dim=0)
        # Their tolerances are absolute: late in training gradients are so small that they would do nothing.
        norm = J.norm() if self._entry.by_norm else J.new_ones(())
        with seeded_init(seed_of_step(self._seed, self._step)) if self._entry.draws else nullcontext():
            vector: Tensor = self._aggregator(J / norm if self._entry.by_norm else J) * norm
        return vector.detach() * (len(J) if self._entry.averages else 1)

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of what later steps depend on."""
        return {"steps_done": torch.tensor(self._step), **aggregator_state(self._aggregator, self._entry.state)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state that :meth:`state_dict` returned."""
        unknown = set(state) - {"steps_done", *self._entry.state}
        if unknown or "steps_done" not in state:
            right = ", ".join(("steps_done", *self._entry.state))
            raise ValueError(f"state: found {', '.join(state)}; expected {right} for {self._entry.class_name}")
        self._step = int(state["steps_done"])
        rest = {name: tensor for name, tensor in state.items() if name != "steps_done"}
        load_aggregator_state(self._aggregator, self._entry.state, rest, self._shared[0].device)
