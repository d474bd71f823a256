"""Metrics over annotated entries, and how sure a difference between two ways of training is."""
