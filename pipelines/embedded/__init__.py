"""Data that come with an installed library, written out as sources so that a case runs without a download."""
