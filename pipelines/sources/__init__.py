"""Readers of sources: each lists a source's rows with their labels, and fetches the pictures of some of them."""
