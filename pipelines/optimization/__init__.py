"""The optimiser and the learning-rate schedule: their settings, each with what it builds or computes."""
