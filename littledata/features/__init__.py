"""The output of a network's frozen layers, computed once for each view of a photo and cached on disk.

It imports `core`, `pictures`, `splits`, `networks` and `export`.
"""
