"""The metrics that are errors."""

LOWER_IS_BETTER = frozenset({"calibration_error"})
