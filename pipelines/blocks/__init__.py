"""Arrow blocks: their schema, and how they are written, found and read."""
