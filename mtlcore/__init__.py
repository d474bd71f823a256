"""Multi-task learning from separately labelled datasets: losses, networks, balancing and metrics in pure PyTorch.

A name is imported when it is first asked for (PEP 562), so that who needs one without tensors does not wait for torch.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "mtlcore.balancing": (
        "BALANCING_METHODS",
        "build_balancer",
    ),
    "mtlcore.diagnostics.gradient_similarity": ("gradient_agreement",),
    "mtlcore.diagnostics.head_inputs": (
        "HeadInputs",
        "head_features",
    ),
    "mtlcore.diagnostics.head_sharing": (
        "head_sharing",
        "unit_importance",
    ),
    "mtlcore.diagnostics.probe": (
        "PairMeasured",
        "RelatednessProbe",
    ),
    "mtlcore.diagnostics.observed_cells": ("ObservedCells",),
    "mtlcore.diagnostics.trust": (
        "RelatednessTrust",
        "cell_trust",
    ),
    "mtlcore.losses.answer": ("answer", "decided_class"),
    "mtlcore.losses.consistency": ("consistency_loss",),
    "mtlcore.losses.class_losses": ("class_loss", "label_loss"),
    "mtlcore.exported": (
        "ExportedModel",
        "load_exported",
    ),
    "mtlcore.losses.co_annotated_classes": ("co_annotated_classes",),
    "mtlcore.losses.co_annotation": (
        "co_annotation_to_classes",
        "co_annotation_to_labels",
    ),
    "mtlcore.losses.co_annotation_multilabel": (
        "co_annotation_from_labels",
        "co_annotation_to_source_labels",
        "suggested_labels",
    ),
    "mtlcore.losses.distribution_matching": ("distribution_matching_loss",),
    "mtlcore.losses.implied": ("log_implied",),
    "mtlcore.losses.implied_likelihood": ("implied_likelihood_loss",),
    "mtlcore.losses.implied_multilabel": ("log_implied_by_labels",),
    "mtlcore.losses.joint_loss": (
        "JointLoss",
        "JointLossValue",
    ),
    "mtlcore.losses.label_evidence": (
        "evidence_for_source",
        "evidence_for_target",
    ),
    "mtlcore.losses.label_shift": (
        "ShiftedPriors",
        "prior_by_confusion",
        "prior_by_em",
    ),
    "mtlcore.losses.loss_term": (
        "LossTerm",
        "TaskTerm",
    ),
    "mtlcore.losses.mixup": ("MixedLabels",),
    "mtlcore.losses.ordinal": ("class_log_probabilities", "ordinal_loss", "predicted_rank"),
    "mtlcore.losses.regression": ("as_standardised", "predicted_numbers", "predicted_spread", "regression_loss"),
    "mtlcore.losses.pseudo_labels": (
        "flexible_thresholds",
        "pseudo_label_loss",
        "pseudo_labels",
    ),
    "mtlcore.losses.related_pair": (
        "DistributionMatching",
        "ImpliedLikelihood",
        "RelatedPair",
        "SoftCoAnnotation",
    ),
    "mtlcore.losses.unlabelled": (
        "PseudoLabelling",
        "UnlabelledLoss",
    ),
    "mtlcore.losses.supervised": ("supervised_loss",),
    "mtlcore.metrics.direction": ("IN_UNITS", "LOWER_IS_BETTER"),
    "mtlcore.metrics.interval": ("Interval",),
    "mtlcore.metrics.bootstrap": ("paired_difference",),
    "mtlcore.metrics.calibration": (
        "fit_temperature",
        "fit_thresholds",
    ),
    "mtlcore.metrics.chance": ("is_at_chance",),
    "mtlcore.metrics.delta_m": (
        "bootstrapped_delta_m",
        "delta_m",
    ),
    "mtlcore.metrics.metrics": (
        "METRICS",
        "metric_names",
        "primary_metric",
        "task_metrics",
        "unitless_metric",
    ),
    "mtlcore.metrics.negative_transfer": (
        "ENOUGH_SEEDS",
        "Verdict",
        "negative_transfer_verdict",
    ),
    "mtlcore.metrics.verification": ("verification_difference", "verification_scores"),
    "mtlcore.networks": (
        "AttentionTrunk",
        "CrossStitch",
        "DSelectK",
        "LearnedBranching",
        "MovingAverage",
        "MultiGateMixtureOfExperts",
        "MultiTaskNetwork",
        "ProgressiveLayeredExtraction",
        "TaskTrunk",
        "build_backbone",
        "build_multi_task_network",
        "load_pretrained",
        "mlp",
        "resnet_small",
        "seeded_init",
        "small_cnn",
        "without_auxiliary",
    ),
    "mtlcore.relatedness.bayes": ("reversed_relatedness",),
    "mtlcore.relatedness.expression_to_au": ("expression_to_au",),
    "mtlcore.relatedness.from_annotations": (
        "AnnotationCounts",
        "count_annotations",
        "relatedness_from_annotations",
        "relatedness_from_counts",
    ),
    "mtlcore.relatedness.from_bins": ("relatedness_from_bins",),
    "mtlcore.relatedness.from_hierarchy": (
        "composed_relatedness",
        "relatedness_from_hierarchy",
    ),
    "mtlcore.relatedness.from_predictions": (
        "HeldOut",
        "relatedness_from_predictions",
    ),
    "mtlcore.relatedness.io": (
        "load_relatedness",
        "save_relatedness",
    ),
    "mtlcore.relatedness.reading": (
        "FusionWeights",
        "fit_fusion",
        "fuse_log_linear",
        "read_classes",
        "table_evidence",
    ),
    "mtlcore.relatedness.relatedness": ("Relatedness",),
    "mtlcore.tasks": (
        "ClassLoss",
        "KINDS",
        "MISSING",
        "Multiclass",
        "Multilabel",
        "Ordinal",
        "Regression",
        "Task",
        "is_annotated",
        "missing_label",
    ),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
