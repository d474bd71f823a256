"""From sources to Arrow blocks, with Ray Data."""
