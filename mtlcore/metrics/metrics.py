"""The metrics of one task, over annotated entries alone."""

from torch import Tensor

from mtlcore.metrics.kinds import METRICS as METRICS
from mtlcore.metrics.kinds import OF_KIND
from mtlcore.tasks import Task, is_annotated


def primary_metric(task: Task) -> str:
    """Name the metric by which arms are compared: ``accuracy`` (multiclass), ``macro_f1`` (multilabel), ``mae``
    (ordinal) or ``rmse`` (regression).

    Example:
        >>> from mtlcore import Multiclass
        >>> primary_metric(Multiclass("digit", ("0", "1")))
        'accuracy'
    """
    return OF_KIND[task.kind].primary


def metric_names(task: Task) -> tuple[str, ...]:
    """Name the metrics of a task, in the order of :func:`task_metrics`.

    Example:
        >>> from mtlcore import Regression
        >>> metric_names(Regression("age", ("age",)))
        ('rmse', 'mae', 'r2', 'ccc')
    """
    return OF_KIND[task.kind].names


def unitless_metric(task: Task) -> str:
    """Name the metric that stands for a task in a mean over tasks: its primary one, or, where that is an error in the
    labels' unit, one without a unit: ``r2`` (regression) or ``quadratic_kappa`` (ordinal).

    Example:
        >>> from mtlcore import Regression
        >>> unitless_metric(Regression("age", ("age",)))
        'r2'
    """
    return OF_KIND[task.kind].unitless


def task_metrics(logits: Tensor, labels: Tensor, task: Task) -> dict[str, float]:
    r"""Compute a task's metrics, over annotated entries alone; of classes and labels with torchmetrics.

    A multilabel task's metric is the mean of its labels' metrics, each over the entries annotated for that label. A
    label without any annotated entry takes no part.

    ===========================  ==================================  ==============================================
    metric                       multiclass                          multilabel, of a label
    ===========================  ==================================  ==============================================
    ``accuracy``                 share of the inputs that are right  share of the entries that are right
    ``balanced_accuracy``        mean recall of the classes that     mean of recall and specificity; the one that
                                 occur                               is defined where the other is not
    ``macro_f1``                 mean F1 of the classes that occur   F1; a label that neither occurs nor is predicted
                                 or are predicted                    takes no part (1 where no label does either)
    ``macro_average_precision``  mean over the classes that occur,   average precision; a label without a positive
                                 each against the rest, ranked by    takes no part
                                 log p - log(1 - p)
    ``calibration_error``        of the most probable class          of the label's probability
    ===========================  ==================================  ==============================================

    The calibration error is Guo et al.'s ("On Calibration of Modern Neural Networks", ICML 2017): inputs are put in
    15 equal bins of the stated probability, and :math:`ECE = \sum_b \frac{n_b}{n} |\text{share right}_b - \text{mean
    probability}_b|`. It is an error: LOWER is better (:data:`LOWER_IS_BETTER`). For a label, "right" is "the label
    holds". The mean over labels, not one error of all entries pooled: pooled, a label that is stated too often and one
    that is stated too seldom cancel. With few entries a bin the error is too high, even of a calibrated network.

    Ordinal tasks have ``mae`` (in classes), ``quadratic_kappa`` and ``accuracy``; regression tasks ``rmse`` and ``mae``
    in the labels' unit, ``r2`` and ``ccc``, each the mean over the task's numbers: see :mod:`mtlcore.metrics.moments`.

    Args:
        logits: what the task's head puts out, floating point, shape (N, task.width).
        labels: as :mod:`mtlcore.tasks` says.
        task: of which kind it is, and its outputs.

    Returns:
        every metric of :func:`metric_names` by name; NaN where it is not defined: all where nothing is annotated,
        average precision where no label has a positive.

    Example:
        >>> import torch
        >>> from mtlcore import Multiclass, task_metrics
        >>> z, y = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [0.0, 1.0]]), torch.tensor([0, 0, 0, -1])
        >>> found = task_metrics(z, y, Multiclass("animal", ("cat", "crow")))
        >>> {name: round(value, 2) for name, value in found.items()} # doctest: +NORMALIZE_WHITESPACE
        {'accuracy': 0.67, 'balanced_accuracy': 0.67, 'macro_f1': 0.4, 'macro_average_precision': 1.0,
         'calibration_error': 0.32}
    """
    kind = OF_KIND[task.kind]
    if not is_annotated(labels).any():
        return dict.fromkeys(kind.names, float("nan"))
    values = kind.compute(logits, labels, task)
    return {name: float(values[name]) for name in kind.names}
