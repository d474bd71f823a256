"""Evaluation on the test split, and relatedness estimated from trained networks."""
