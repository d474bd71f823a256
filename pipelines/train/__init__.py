"""Training with Ray Train: runs that resume exactly after being killed at any moment."""
