"""From a file's bytes to pixels: kinds of files, metadata, depth of colour, decoding, squares and augmented views.

It knows no classes and no networks. It imports `core`.
"""
