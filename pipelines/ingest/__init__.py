"""Ingest: from sources to Arrow blocks, with Ray Data."""
