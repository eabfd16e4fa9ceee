"""Which photo trains, validates or tests: the draw, copies and near-duplicates, and the manifest of the drawn photos.

It imports `core`, `pictures` and `photos`.
"""
