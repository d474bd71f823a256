"""The data loader: which rows a step takes, in which order, with which augmentation."""
