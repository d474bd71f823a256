"""What workers do: train the runs of a case, step by step, without ever losing their place."""
