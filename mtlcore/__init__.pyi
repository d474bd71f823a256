"""The types of what mtlcore/__init__.py imports when it is asked for."""

from mtlcore.balancing import BALANCING_METHODS as BALANCING_METHODS
from mtlcore.balancing import build_balancer as build_balancer
from mtlcore.diagnostics.gradient_similarity import gradient_agreement as gradient_agreement
from mtlcore.diagnostics.head_inputs import HeadInputs as HeadInputs
from mtlcore.diagnostics.head_inputs import head_features as head_features
from mtlcore.diagnostics.head_sharing import head_sharing as head_sharing
from mtlcore.diagnostics.head_sharing import unit_importance as unit_importance
from mtlcore.diagnostics.observed_cells import ObservedCells as ObservedCells
from mtlcore.diagnostics.probe import PairMeasured as PairMeasured
from mtlcore.diagnostics.probe import RelatednessProbe as RelatednessProbe
from mtlcore.diagnostics.trust import RelatednessTrust as RelatednessTrust
from mtlcore.diagnostics.trust import cell_trust as cell_trust
from mtlcore.exported import ExportedModel as ExportedModel
from mtlcore.exported import load_exported as load_exported
from mtlcore.losses.answer import answer as answer
from mtlcore.losses.answer import decided_class as decided_class
from mtlcore.losses.class_losses import class_loss as class_loss
from mtlcore.losses.class_losses import label_loss as label_loss
from mtlcore.losses.co_annotated_classes import co_annotated_classes as co_annotated_classes
from mtlcore.losses.co_annotation import co_annotation_to_classes as co_annotation_to_classes
from mtlcore.losses.co_annotation import co_annotation_to_labels as co_annotation_to_labels
from mtlcore.losses.co_annotation_multilabel import co_annotation_from_labels as co_annotation_from_labels
from mtlcore.losses.co_annotation_multilabel import co_annotation_to_source_labels as co_annotation_to_source_labels
from mtlcore.losses.co_annotation_multilabel import suggested_labels as suggested_labels
from mtlcore.losses.consistency import consistency_loss as consistency_loss
from mtlcore.losses.distribution_matching import distribution_matching_loss as distribution_matching_loss
from mtlcore.losses.implied import log_implied as log_implied
from mtlcore.losses.implied_likelihood import implied_likelihood_loss as implied_likelihood_loss
from mtlcore.losses.implied_multilabel import log_implied_by_labels as log_implied_by_labels
from mtlcore.losses.joint_loss import JointLoss as JointLoss
from mtlcore.losses.joint_loss import JointLossValue as JointLossValue
from mtlcore.losses.label_evidence import evidence_for_source as evidence_for_source
from mtlcore.losses.label_evidence import evidence_for_target as evidence_for_target
from mtlcore.losses.label_shift import ShiftedPriors as ShiftedPriors
from mtlcore.losses.label_shift import prior_by_confusion as prior_by_confusion
from mtlcore.losses.label_shift import prior_by_em as prior_by_em
from mtlcore.losses.loss_term import LossTerm as LossTerm
from mtlcore.losses.loss_term import TaskTerm as TaskTerm
from mtlcore.losses.mixup import MixedLabels as MixedLabels
from mtlcore.losses.ordinal import class_log_probabilities as class_log_probabilities
from mtlcore.losses.ordinal import ordinal_loss as ordinal_loss
from mtlcore.losses.ordinal import predicted_rank as predicted_rank
from mtlcore.losses.pseudo_labels import flexible_thresholds as flexible_thresholds
from mtlcore.losses.pseudo_labels import pseudo_label_loss as pseudo_label_loss
from mtlcore.losses.pseudo_labels import pseudo_labels as pseudo_labels
from mtlcore.losses.regression import as_standardised as as_standardised
from mtlcore.losses.regression import predicted_numbers as predicted_numbers
from mtlcore.losses.regression import predicted_spread as predicted_spread
from mtlcore.losses.regression import regression_loss as regression_loss
from mtlcore.losses.related_pair import DistributionMatching as DistributionMatching
from mtlcore.losses.related_pair import ImpliedLikelihood as ImpliedLikelihood
from mtlcore.losses.related_pair import RelatedPair as RelatedPair
from mtlcore.losses.related_pair import SoftCoAnnotation as SoftCoAnnotation
from mtlcore.losses.supervised import supervised_loss as supervised_loss
from mtlcore.losses.unlabelled import PseudoLabelling as PseudoLabelling
from mtlcore.losses.unlabelled import UnlabelledLoss as UnlabelledLoss
from mtlcore.metrics.bootstrap import paired_difference as paired_difference
from mtlcore.metrics.calibration import fit_temperature as fit_temperature
from mtlcore.metrics.calibration import fit_thresholds as fit_thresholds
from mtlcore.metrics.chance import is_at_chance as is_at_chance
from mtlcore.metrics.delta_m import bootstrapped_delta_m as bootstrapped_delta_m
from mtlcore.metrics.delta_m import delta_m as delta_m
from mtlcore.metrics.direction import IN_UNITS as IN_UNITS
from mtlcore.metrics.direction import LOWER_IS_BETTER as LOWER_IS_BETTER
from mtlcore.metrics.interval import Interval as Interval
from mtlcore.metrics.metrics import METRICS as METRICS
from mtlcore.metrics.metrics import metric_names as metric_names
from mtlcore.metrics.metrics import primary_metric as primary_metric
from mtlcore.metrics.metrics import task_metrics as task_metrics
from mtlcore.metrics.metrics import unitless_metric as unitless_metric
from mtlcore.metrics.negative_transfer import ENOUGH_SEEDS as ENOUGH_SEEDS
from mtlcore.metrics.negative_transfer import Verdict as Verdict
from mtlcore.metrics.negative_transfer import negative_transfer_verdict as negative_transfer_verdict
from mtlcore.metrics.verification import verification_difference as verification_difference
from mtlcore.metrics.verification import verification_scores as verification_scores
from mtlcore.networks import AttentionTrunk as AttentionTrunk
from mtlcore.networks import CrossStitch as CrossStitch
from mtlcore.networks import DSelectK as DSelectK
from mtlcore.networks import LearnedBranching as LearnedBranching
from mtlcore.networks import MovingAverage as MovingAverage
from mtlcore.networks import MultiGateMixtureOfExperts as MultiGateMixtureOfExperts
from mtlcore.networks import MultiTaskNetwork as MultiTaskNetwork
from mtlcore.networks import ProgressiveLayeredExtraction as ProgressiveLayeredExtraction
from mtlcore.networks import TaskTrunk as TaskTrunk
from mtlcore.networks import build_backbone as build_backbone
from mtlcore.networks import build_multi_task_network as build_multi_task_network
from mtlcore.networks import load_pretrained as load_pretrained
from mtlcore.networks import mlp as mlp
from mtlcore.networks import resnet_small as resnet_small
from mtlcore.networks import seeded_init as seeded_init
from mtlcore.networks import small_cnn as small_cnn
from mtlcore.networks import without_auxiliary as without_auxiliary
from mtlcore.relatedness.bayes import reversed_relatedness as reversed_relatedness
from mtlcore.relatedness.expression_to_au import expression_to_au as expression_to_au
from mtlcore.relatedness.from_annotations import AnnotationCounts as AnnotationCounts
from mtlcore.relatedness.from_annotations import count_annotations as count_annotations
from mtlcore.relatedness.from_annotations import relatedness_from_annotations as relatedness_from_annotations
from mtlcore.relatedness.from_annotations import relatedness_from_counts as relatedness_from_counts
from mtlcore.relatedness.from_bins import relatedness_from_bins as relatedness_from_bins
from mtlcore.relatedness.from_hierarchy import composed_relatedness as composed_relatedness
from mtlcore.relatedness.from_hierarchy import relatedness_from_hierarchy as relatedness_from_hierarchy
from mtlcore.relatedness.from_predictions import HeldOut as HeldOut
from mtlcore.relatedness.from_predictions import relatedness_from_predictions as relatedness_from_predictions
from mtlcore.relatedness.io import load_relatedness as load_relatedness
from mtlcore.relatedness.io import save_relatedness as save_relatedness
from mtlcore.relatedness.reading import FusionWeights as FusionWeights
from mtlcore.relatedness.reading import fit_fusion as fit_fusion
from mtlcore.relatedness.reading import fuse_log_linear as fuse_log_linear
from mtlcore.relatedness.reading import read_classes as read_classes
from mtlcore.relatedness.reading import table_evidence as table_evidence
from mtlcore.relatedness.relatedness import Relatedness as Relatedness
from mtlcore.tasks import KINDS as KINDS
from mtlcore.tasks import MISSING as MISSING
from mtlcore.tasks import ClassLoss as ClassLoss
from mtlcore.tasks import Multiclass as Multiclass
from mtlcore.tasks import Multilabel as Multilabel
from mtlcore.tasks import Ordinal as Ordinal
from mtlcore.tasks import Regression as Regression
from mtlcore.tasks import Task as Task
from mtlcore.tasks import is_annotated as is_annotated
from mtlcore.tasks import missing_label as missing_label

__all__ = [
    "BALANCING_METHODS",
    "ENOUGH_SEEDS",
    "IN_UNITS",
    "KINDS",
    "LOWER_IS_BETTER",
    "METRICS",
    "MISSING",
    "AnnotationCounts",
    "AttentionTrunk",
    "ClassLoss",
    "CrossStitch",
    "DSelectK",
    "DistributionMatching",
    "ExportedModel",
    "FusionWeights",
    "HeadInputs",
    "HeldOut",
    "ImpliedLikelihood",
    "Interval",
    "JointLoss",
    "JointLossValue",
    "LearnedBranching",
    "LossTerm",
    "MixedLabels",
    "MovingAverage",
    "MultiGateMixtureOfExperts",
    "MultiTaskNetwork",
    "Multiclass",
    "Multilabel",
    "ObservedCells",
    "Ordinal",
    "PairMeasured",
    "ProgressiveLayeredExtraction",
    "PseudoLabelling",
    "Regression",
    "RelatedPair",
    "Relatedness",
    "RelatednessProbe",
    "RelatednessTrust",
    "ShiftedPriors",
    "SoftCoAnnotation",
    "Task",
    "TaskTerm",
    "TaskTrunk",
    "UnlabelledLoss",
    "answer",
    "as_standardised",
    "bootstrapped_delta_m",
    "build_backbone",
    "build_balancer",
    "build_multi_task_network",
    "cell_trust",
    "class_log_probabilities",
    "class_loss",
    "co_annotated_classes",
    "co_annotation_from_labels",
    "co_annotation_to_classes",
    "co_annotation_to_labels",
    "co_annotation_to_source_labels",
    "composed_relatedness",
    "consistency_loss",
    "count_annotations",
    "decided_class",
    "delta_m",
    "distribution_matching_loss",
    "evidence_for_source",
    "evidence_for_target",
    "expression_to_au",
    "fit_fusion",
    "fit_temperature",
    "fit_thresholds",
    "flexible_thresholds",
    "fuse_log_linear",
    "gradient_agreement",
    "head_features",
    "head_sharing",
    "implied_likelihood_loss",
    "is_annotated",
    "is_at_chance",
    "label_loss",
    "load_exported",
    "load_pretrained",
    "load_relatedness",
    "log_implied",
    "log_implied_by_labels",
    "metric_names",
    "missing_label",
    "mlp",
    "negative_transfer_verdict",
    "ordinal_loss",
    "paired_difference",
    "predicted_numbers",
    "predicted_rank",
    "predicted_spread",
    "primary_metric",
    "prior_by_confusion",
    "prior_by_em",
    "pseudo_label_loss",
    "pseudo_labels",
    "read_classes",
    "regression_loss",
    "relatedness_from_annotations",
    "relatedness_from_bins",
    "relatedness_from_counts",
    "relatedness_from_hierarchy",
    "relatedness_from_predictions",
    "resnet_small",
    "reversed_relatedness",
    "save_relatedness",
    "seeded_init",
    "small_cnn",
    "suggested_labels",
    "supervised_loss",
    "table_evidence",
    "task_metrics",
    "unit_importance",
    "unitless_metric",
    "verification_difference",
    "verification_scores",
    "without_auxiliary",
]
