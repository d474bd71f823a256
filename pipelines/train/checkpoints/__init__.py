"""Checkpoints: their file format, store, writer and schedule."""
