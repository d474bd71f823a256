"""One HTML page and one table from the results of a case."""
