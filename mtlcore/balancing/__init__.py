"""Loss and gradient balancing for several objectives over shared parameters, on any number of workers."""

from mtlcore.balancing.aggregated_gradients import AggregatedGradients
from mtlcore.balancing.balancer import Balancer
from mtlcore.balancing.dual_balancing import DualBalancing
from mtlcore.balancing.dynamic_weight_average import DynamicWeightAverage
from mtlcore.balancing.famo import FastAdaptiveMultitask
from mtlcore.balancing.fixed_weights import FixedWeights
from mtlcore.balancing.gradient_normalization import GradNorm
from mtlcore.balancing.impartial_losses import ImpartialLosses
from mtlcore.balancing.methods import (
    BALANCERS,
    BALANCING_METHODS,
    balancing_class,
    build_balancer,
    check_options,
)
from mtlcore.balancing.random_loss_weighting import RandomLossWeighting
from mtlcore.balancing.scalarizations import GeometricLosses, SmoothTchebycheff
from mtlcore.balancing.uncertainty_weighting import UncertaintyWeighting
from mtlcore.balancing.weighted_losses import WeightedLosses

__all__ = [
    "BALANCERS",
    "BALANCING_METHODS",
    "AggregatedGradients",
    "Balancer",
    "DualBalancing",
    "DynamicWeightAverage",
    "FastAdaptiveMultitask",
    "FixedWeights",
    "GeometricLosses",
    "GradNorm",
    "ImpartialLosses",
    "RandomLossWeighting",
    "SmoothTchebycheff",
    "UncertaintyWeighting",
    "WeightedLosses",
    "balancing_class",
    "build_balancer",
    "check_options",
]
