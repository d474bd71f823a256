"""Relatedness: the table R of how two tasks' labels relate, the ways to estimate it, and its files."""
