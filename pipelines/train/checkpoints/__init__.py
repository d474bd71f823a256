"""Checkpoints: their file, the folder that keeps them, and when one is due."""
