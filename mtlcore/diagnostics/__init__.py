"""Diagnostics of task relatedness during training: trust in a table, shared hidden units, agreeing gradients."""
