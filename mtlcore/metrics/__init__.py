"""Metrics over annotated entries, and confidence intervals for the difference between two arms."""
