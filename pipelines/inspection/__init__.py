"""Inspection of a case's data before training: counts, overlap, leakage, and a sheet of samples."""
