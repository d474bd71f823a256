"""What the command line does, in Python: cases from objects, results as tables, models, and Ray's own verbs."""
