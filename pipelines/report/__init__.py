"""The HTML report and the results table."""
