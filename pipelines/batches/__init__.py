"""From blocks to the mixed batch of a step: which rows, how altered, in which order."""
