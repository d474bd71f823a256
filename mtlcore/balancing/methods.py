"""The registry of balancing methods, and how one is built from its name and options."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from mtlcore.balancing.aggregated_gradients import AggregatedGradients
from mtlcore.balancing.balancer import Balancer
from mtlcore.balancing.dynamic_weight_average import DynamicWeightAverage
from mtlcore.balancing.fixed_weights import FixedWeights
from mtlcore.balancing.gradient_normalization import GradNorm
from mtlcore.balancing.random_loss_weighting import RandomLossWeighting
from mtlcore.balancing.torchjd_aggregators import AGGREGATORS
from mtlcore.balancing.uncertainty_weighting import UncertaintyWeighting
from mtlcore.suggestions import did_you_mean

# The options of each method, by its name.
BALANCING_METHODS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "uncertainty": ("lr",),
    "dwa": ("temperature", "period"),
    "random": (),
    "gradnorm": ("lr", "alpha"),
    **{name: tuple(entry.defaults) for name, entry in AGGREGATORS.items()},
}

# The methods that can do with one piece of the batch at a time, and those that look at no gradient.
BALANCED_IN_PIECES = ("fixed",)
BALANCED_IN_SHARDS = ("fixed", "uncertainty", "dwa", "random")


def build_balancer(
    method: str,
    objectives: Iterable[str],
    shared: Iterable[Tensor],
    others: Iterable[Tensor],
    *,
    seed: int = 0,
    **options: Any,
) -> Balancer:
    """Build a balancing method by its name.

    Args:
        method: a key of :data:`BALANCING_METHODS`. The papers stand in the docstrings of :class:`FixedWeights`,
            :class:`UncertaintyWeighting`, :class:`DynamicWeightAverage`, :class:`RandomLossWeighting`,
            :class:`GradNorm` and, for TorchJD's aggregators, :class:`AggregatedGradients`.
        objectives: ``joint_loss.objective_names``. With one alone there is nothing to balance, and every method is
            ``fixed``.
        shared: the parameters that all objectives share.
        others: all other parameters that are trained; those among ``shared`` too are left out.
        seed: of what is drawn at random; the same on all workers.
        options: of the method.

    Raises:
        ValueError: there is no such method or option, or an option is wrong.

    Example:
        >>> import torch
        >>> from mtlcore import *
        >>> tasks = [Multiclass("species", ("cat", "crow")), Multilabel("traits", ("furry", "flies"))]
        >>> backbone, features = mlp((3,), hidden=(8,))
        >>> network = MultiTaskNetwork(backbone, features, tasks)
        >>> joint = JointLoss(tasks)
        >>> balancer = build_balancer(
        ...     "pcgrad", joint.objective_names, network.backbone.parameters(), network.heads.parameters()
        ... )
        >>> labels = {"species": torch.tensor([0, -1]), "traits": torch.tensor([[-1, -1], [0, 1]])}
        >>> balancer.backward(joint(network(torch.ones(2, 3)), labels))
        >>> all(parameter.grad is not None for parameter in network.parameters())
        True
    """
    check_options(method, options)
    names = tuple(objectives)
    shared_list, other_list = list(shared), list(others)
    if method == "fixed" or len(names) == 1:
        return FixedWeights(names)
    if method in AGGREGATORS:
        return AggregatedGradients(method, names, shared_list, other_list, seed=seed, **options)
    if method == "random":
        return RandomLossWeighting(names, seed=seed)
    if method == "gradnorm":
        return GradNorm(names, shared_list, **options)
    if method == "dwa":
        return DynamicWeightAverage(names, **options)
    return UncertaintyWeighting(names, **options)


def check_options(method: str, options: Iterable[str]) -> None:
    """Check the names of a method and of its options.

    Raises:
        ValueError: there is no such method, or it has no such option; names the nearest.
    """
    if method not in BALANCING_METHODS:
        near = did_you_mean(method, BALANCING_METHODS)
        near = near if near.startswith("; did") else ""
        raise ValueError(f"method: found {method!r}{near}; valid: {', '.join(BALANCING_METHODS)}")
    for option in options:
        if option not in (valid := BALANCING_METHODS[method]):
            known = did_you_mean(option, valid) or "; it has none"
            raise ValueError(f"{option}: found, and the method {method!r} has no such option{known}")
