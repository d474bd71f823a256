"""Which metrics are errors, and which of them have a unit; it needs no torch, so that a report can be read without."""

LOWER_IS_BETTER = frozenset({"calibration_error", "rmse", "mae"})
# In the labels' unit, or in classes of an order; every other metric is at most 1, and most are at least 0.
IN_UNITS = frozenset({"rmse", "mae"})
