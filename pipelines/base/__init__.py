"""Shared foundations: errors, validated settings, progress bars, storage, and the Ray session."""
