"""Training logs: JSON Lines, Weights & Biases, TensorBoard, and the histories that the report draws."""
