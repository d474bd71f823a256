"""Co-training of related classification tasks from separately labelled data: the method, in pure PyTorch."""

from mtlcore.bootstrap import Interval, paired_difference
from mtlcore.co_annotation import co_annotated_classes, co_annotation_to_classes, co_annotation_to_labels
from mtlcore.delta_m import bootstrapped_delta_m, delta_m
from mtlcore.distribution_matching import distribution_matching_loss
from mtlcore.expression_to_au import expression_to_au
from mtlcore.gradient_agreement import gradient_agreement
from mtlcore.head_sharing import head_sharing, unit_importance
from mtlcore.implied import log_implied
from mtlcore.implied_likelihood import implied_likelihood_loss
from mtlcore.joint_loss import (
    DistributionMatching,
    ImpliedLikelihood,
    JointLoss,
    JointLossValue,
    RelatedPair,
    SoftCoAnnotation,
)
from mtlcore.metrics import LOWER_IS_BETTER, METRICS, primary_metric, task_metrics
from mtlcore.negative_transfer import ENOUGH_SEEDS, Verdict, negative_transfer_verdict
from mtlcore.networks import MultiTaskNetwork, drawn_from, mlp, small_cnn
from mtlcore.relatedness import Relatedness
from mtlcore.relatedness_from_annotations import (
    CountedRelatedness,
    relatedness_from_annotations,
    reversed_relatedness,
)
from mtlcore.relatedness_probe import PairMeasured, RelatednessProbe
from mtlcore.supervised import supervised_loss
from mtlcore.tasks import MISSING, Multiclass, Multilabel, Task
from mtlcore.terms import LossTerm

__all__ = [
    "ENOUGH_SEEDS",
    "LOWER_IS_BETTER",
    "METRICS",
    "MISSING",
    "CountedRelatedness",
    "DistributionMatching",
    "ImpliedLikelihood",
    "Interval",
    "JointLoss",
    "JointLossValue",
    "LossTerm",
    "MultiTaskNetwork",
    "Multiclass",
    "Multilabel",
    "PairMeasured",
    "RelatedPair",
    "Relatedness",
    "RelatednessProbe",
    "SoftCoAnnotation",
    "Task",
    "Verdict",
    "bootstrapped_delta_m",
    "co_annotated_classes",
    "co_annotation_to_classes",
    "co_annotation_to_labels",
    "delta_m",
    "distribution_matching_loss",
    "drawn_from",
    "expression_to_au",
    "gradient_agreement",
    "head_sharing",
    "implied_likelihood_loss",
    "log_implied",
    "mlp",
    "negative_transfer_verdict",
    "paired_difference",
    "primary_metric",
    "relatedness_from_annotations",
    "reversed_relatedness",
    "small_cnn",
    "supervised_loss",
    "task_metrics",
    "unit_importance",
]
