"""The runs of a case, where they lie, and what they were made from."""
