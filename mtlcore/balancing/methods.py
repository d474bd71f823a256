"""The registry of balancing methods, and how one is built from its name and options."""

import inspect
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from mtlcore.balancing.aggregated_gradients import AggregatedGradients
from mtlcore.balancing.balancer import Balancer
from mtlcore.balancing.dual_balancing import DualBalancing
from mtlcore.balancing.dynamic_weight_average import DynamicWeightAverage
from mtlcore.balancing.famo import FastAdaptiveMultitask
from mtlcore.balancing.fixed_weights import FixedWeights
from mtlcore.balancing.gradient_normalization import GradNorm
from mtlcore.balancing.impartial_losses import ImpartialLosses
from mtlcore.balancing.random_loss_weighting import RandomLossWeighting
from mtlcore.balancing.scalarizations import GeometricLosses, SmoothTchebycheff
from mtlcore.balancing.torchjd_aggregators import AGGREGATORS
from mtlcore.balancing.uncertainty_weighting import UncertaintyWeighting
from mtlcore.registry import Registry
from mtlcore.suggestions import did_you_mean

# Every method but TorchJD's aggregators, which have a list of their own; a line here adds one.
BALANCERS: Registry[type[Balancer]] = Registry(
    "method",
    "kindred.balancing",
    {
        "fixed": FixedWeights,
        "uncertainty": UncertaintyWeighting,
        "dwa": DynamicWeightAverage,
        "random": RandomLossWeighting,
        "gradnorm": GradNorm,
        "imtl_l": ImpartialLosses,
        "gls": GeometricLosses,
        "stch": SmoothTchebycheff,
        "famo": FastAdaptiveMultitask,
        "db_mtl": DualBalancing,
    },
)


def _options_of(method: type[Balancer]) -> tuple[str, ...]:
    """Return the options that a case may give: what the constructor takes by keyword alone."""
    taken = inspect.signature(method).parameters.values()
    # The seed is the run's: one of its own would let balancing draw alike in runs that should differ.
    return tuple(p.name for p in taken if p.kind is p.KEYWORD_ONLY and p.name != "seed")


# The options of each built-in method, by its name.
BALANCING_METHODS: dict[str, tuple[str, ...]] = {
    **{name: _options_of(BALANCERS[name]) for name in BALANCERS.built_in},
    **{name: tuple(entry.defaults) for name, entry in AGGREGATORS.items()},
}


def balancing_class(method: str) -> type[Balancer]:
    """Return the class of a method.

    Raises:
        ValueError: there is no such method; begins with ``method``.
    """
    if method in AGGREGATORS:
        return AggregatedGradients
    try:
        balancer = BALANCERS[method]
    except ValueError as error:
        raise ValueError(f"method: {error}") from None
    if not (isinstance(balancer, type) and issubclass(balancer, Balancer)):
        raise ValueError(f"method: found {method!r}; expected a subclass of mtlcore.balancing:Balancer")
    return balancer


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
        method: a key of :data:`BALANCING_METHODS`, the name of an installed package's entry point in the group
            ``kindred.balancing``, or ``package.module:Class``, a subclass of :class:`Balancer`. The papers stand in the
            docstrings of :class:`FixedWeights`, :class:`UncertaintyWeighting`, :class:`DynamicWeightAverage`,
            :class:`RandomLossWeighting`, :class:`GradNorm`, :class:`ImpartialLosses`, :class:`GeometricLosses`,
            :class:`SmoothTchebycheff`, :class:`FastAdaptiveMultitask`, :class:`DualBalancing` and, for TorchJD's
            aggregators, :class:`AggregatedGradients`.
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
    # An arm of single-task networks may name a method for its other arms' sake: for one objective all are the same.
    if method == "fixed" or len(names) == 1:
        return FixedWeights(names)
    if method in AGGREGATORS:
        return AggregatedGradients(method, names, shared_list, other_list, seed=seed, **options)
    balancer = balancing_class(method)
    if method in BALANCERS:
        return balancer.build(names, shared_list, other_list, seed=seed, **options)
    try:
        return balancer.build(names, shared_list, other_list, seed=seed, **options)
    except Exception as error:  # somebody's code
        raise ValueError(f"options: {method!r} failed: {type(error).__name__}: {error}") from error


def check_options(method: str, options: Iterable[str]) -> None:
    """Check the names of a method and of its options.

    Raises:
        ValueError: there is no such method, or it has no such option; names the nearest.
    """
    # Packages are looked through last: to read what all that are installed offer takes longer than to read a case.
    if ":" in method or (method not in BALANCING_METHODS and method in BALANCERS.names()):
        return  # it is its own constructor that knows
    if method not in BALANCING_METHODS:
        near = did_you_mean(method, BALANCING_METHODS)
        near = near if near.startswith("; did") else ""
        raise ValueError(f"method: found {method!r}{near}; valid: {', '.join(BALANCING_METHODS)}, package.module:Class")
    for option in options:
        if option not in (valid := BALANCING_METHODS[method]):
            known = did_you_mean(option, valid) or "; it has none"
            raise ValueError(f"{option}: found, and the method {method!r} has no such option{known}")
