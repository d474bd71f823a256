"""An independent float64 NumPy reading of the metrics: loops over classes, labels and inputs, no tricks."""

import numpy as np


def f1(predicted, true):
    hit = (predicted & true).sum()
    wrong = (predicted != true).sum()
    return 2 * hit / (2 * hit + wrong) if hit + wrong else 0.0


def average_precision(score, true):
    """Sum over distinct thresholds, from high to low, of the gain in recall times the precision there."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        taken = score >= threshold
        precision, recall = true[taken].mean(), true[taken].sum() / true.sum()
        total += precision * (recall - recall_before)
        recall_before = recall
    return total


def calibration_error(stated, right, bins=15):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = (stated >= low) & ((stated < high) | (b == bins - 1))
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - stated[inside].mean())
    return total / len(stated)


def log_odds(row):
    """log p - log(1 - p) of every class, from the logits of the others."""
    with np.errstate(divide="ignore"):
        return np.array([z - np.logaddexp.reduce(np.delete(row, c)) for c, z in enumerate(row)], dtype=np.float32)


def multiclass(z, y):
    z, y = z[y >= 0].astype(np.float64), y[y >= 0]
    if not len(y):
        return dict.fromkeys(
            ("accuracy", "balanced_accuracy", "macro_f1", "macro_average_precision", "calibration_error"), np.nan
        )
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    predicted = z.argmax(axis=1)
    classes = range(z.shape[1])
    odds = np.stack([log_odds(row) for row in z])
    return {
        "accuracy": (predicted == y).mean(),
        "balanced_accuracy": np.mean([(predicted[y == c] == c).mean() for c in classes if (y == c).any()]),
        "macro_f1": np.mean([f1(predicted == c, y == c) for c in classes if (y == c).any() or (predicted == c).any()]),
        "macro_average_precision": np.mean([average_precision(odds[:, c], y == c) for c in classes if (y == c).any()]),
        "calibration_error": calibration_error(p.max(axis=1), predicted == y),
    }


def multilabel(z, y):
    values = {
        name: []
        for name in ("accuracy", "balanced_accuracy", "macro_f1", "macro_average_precision", "calibration_error")
    }
    for label in range(z.shape[1]):
        known = y[:, label] >= 0
        if not known.any():
            continue
        p, true = 1 / (1 + np.exp(-z[known, label].astype(np.float64))), y[known, label] == 1
        predicted = p > 0.5
        recalls = [(predicted[true == value] == value).mean() for value in (True, False) if (true == value).any()]
        values["accuracy"].append((predicted == true).mean())
        values["balanced_accuracy"].append(np.mean(recalls))
        if predicted.any() or true.any():
            values["macro_f1"].append(f1(predicted, true))
        if true.any():
            values["macro_average_precision"].append(average_precision(z[known, label], true))
        values["calibration_error"].append(calibration_error(p, true))
    if (y >= 0).any() and not values["macro_f1"]:
        values["macro_f1"] = [1.0]  # nothing was there, and nothing was found
    return {name: np.mean(found) if found else np.nan for name, found in values.items()}
