"""Co-training of related classification tasks from separately labelled data: the method, in pure PyTorch."""

from mtlcore.balancing import BALANCING_METHODS, build_balancer
from mtlcore.diagnostics.gradient_similarity import gradient_agreement
from mtlcore.diagnostics.head_inputs import HeadInputs, head_features
from mtlcore.diagnostics.head_sharing import head_sharing, unit_importance
from mtlcore.diagnostics.probe import PairMeasured, RelatednessProbe
from mtlcore.diagnostics.trust import RelatednessTrust, row_trust
from mtlcore.losses.co_annotation import co_annotated_classes, co_annotation_to_classes, co_annotation_to_labels
from mtlcore.losses.co_annotation_multilabel import (
    co_annotation_from_labels,
    co_annotation_to_source_labels,
    suggested_labels,
)
from mtlcore.losses.distribution_matching import distribution_matching_loss
from mtlcore.losses.implied import log_implied
from mtlcore.losses.implied_likelihood import implied_likelihood_loss
from mtlcore.losses.implied_multilabel import log_implied_by_labels
from mtlcore.losses.joint_loss import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    JointLossValue,
    RelatedPair,
    SoftCoAnnotation,
)
from mtlcore.losses.loss_term import LossTerm
from mtlcore.losses.mixup import MixedLabels
from mtlcore.losses.supervised import supervised_loss
from mtlcore.metrics.bootstrap import Interval, paired_difference
from mtlcore.metrics.delta_m import bootstrapped_delta_m, delta_m
from mtlcore.metrics.metrics import LOWER_IS_BETTER, METRICS, primary_metric, task_metrics
from mtlcore.metrics.negative_transfer import ENOUGH_SEEDS, Verdict, negative_transfer_verdict
from mtlcore.networks import (
    CrossStitch,
    MultiGateMixtureOfExperts,
    MultiTaskNetwork,
    ProgressiveLayeredExtraction,
    TaskTrunk,
    build_backbone,
    load_pretrained,
    mlp,
    resnet_small,
    seeded_init,
    small_cnn,
    without_auxiliary,
)
from mtlcore.relatedness.bayes import reversed_relatedness
from mtlcore.relatedness.expression_to_au import expression_to_au
from mtlcore.relatedness.from_annotations import (
    AnnotationCounts,
    count_annotations,
    relatedness_from_annotations,
    relatedness_from_counts,
)
from mtlcore.relatedness.from_hierarchy import composed_relatedness, relatedness_from_hierarchy
from mtlcore.relatedness.from_predictions import HeldOut, relatedness_from_predictions
from mtlcore.relatedness.io import load_relatedness, save_relatedness
from mtlcore.relatedness.relatedness import Relatedness
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task

__all__ = [
    "BALANCING_METHODS",
    "ENOUGH_SEEDS",
    "LOWER_IS_BETTER",
    "METRICS",
    "MISSING",
    "AnnotationCounts",
    "CrossStitch",
    "DistributionMatching",
    "HeadInputs",
    "HeldOut",
    "ImpliedLikelihood",
    "Interval",
    "JointLoss",
    "JointLossValue",
    "LossTerm",
    "MixedLabels",
    "MultiGateMixtureOfExperts",
    "MultiTaskNetwork",
    "Multiclass",
    "Multilabel",
    "PairMeasured",
    "ProgressiveLayeredExtraction",
    "RelatedPair",
    "Relatedness",
    "RelatednessProbe",
    "RelatednessTrust",
    "SoftCoAnnotation",
    "Task",
    "TaskTrunk",
    "Verdict",
    "bootstrapped_delta_m",
    "build_backbone",
    "build_balancer",
    "co_annotated_classes",
    "co_annotation_from_labels",
    "co_annotation_to_classes",
    "co_annotation_to_labels",
    "co_annotation_to_source_labels",
    "composed_relatedness",
    "count_annotations",
    "delta_m",
    "distribution_matching_loss",
    "expression_to_au",
    "gradient_agreement",
    "head_features",
    "head_sharing",
    "implied_likelihood_loss",
    "load_pretrained",
    "load_relatedness",
    "log_implied",
    "log_implied_by_labels",
    "mlp",
    "negative_transfer_verdict",
    "paired_difference",
    "primary_metric",
    "relatedness_from_annotations",
    "relatedness_from_counts",
    "relatedness_from_hierarchy",
    "relatedness_from_predictions",
    "resnet_small",
    "reversed_relatedness",
    "row_trust",
    "save_relatedness",
    "seeded_init",
    "small_cnn",
    "suggested_labels",
    "supervised_loss",
    "task_metrics",
    "unit_importance",
    "without_auxiliary",
]
