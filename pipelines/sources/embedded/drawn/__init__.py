"""Drawn data: one parametric renderer per domain, for cases whose real data cannot be shipped."""
