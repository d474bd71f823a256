"""A trained network for use."""
