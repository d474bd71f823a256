"""The case file: one typed object, how it is read, checked, and turned into the method's objects."""
