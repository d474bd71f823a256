"""Ray around the method: ingest, train, evaluate, report, tune, and the command line."""
