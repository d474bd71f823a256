"""Use a trained network: export it, and predict with the export."""
