"""Search the case's settings with Ray Tune."""
