"""The case file: one validated configuration object, and the functions that build the method's objects from it."""
