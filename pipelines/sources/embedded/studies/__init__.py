"""Made vectors, one small world for each way in which extra tasks help (R. Caruana, Machine Learning 28, 1997)."""
