"""Readers of sources: each lists a source's rows with their labels, and fetches the images of some of them."""
