"""The pipeline on Ray: ingest, train, evaluate, report, tune, and the command line."""
