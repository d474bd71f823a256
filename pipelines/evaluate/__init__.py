"""Compare arms on the test split, and estimate how tasks relate."""
