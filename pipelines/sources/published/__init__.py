"""Published datasets in the layouts that their authors document, a module each.

A reader takes the tree of the set's files and the source's settings, and returns a table with a row an image:
``picture`` (string, the image's name in the tree) and a column a field, null where the set says "not annotated".
The sets are licensed and not shipped; where to get each is in its reader's docstring.
"""
