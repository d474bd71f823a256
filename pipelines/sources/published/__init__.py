"""Readers of published data sets in the layouts that their authors document.

A reader takes the tree of the set's files and the source's settings, and returns a table with a row a picture:
``picture`` (string, the picture's name in the tree) and a column a field, null where the set says "not annotated".
The sets are licensed and not shipped; where to get each is in its reader's docstring.
"""
