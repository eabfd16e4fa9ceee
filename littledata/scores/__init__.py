"""How good a level is: metrics with intervals, the three levels and the blog's figures, temperatures, and the choice between levels.

It reads arrays and tables, and needs no network. It imports `core`.
"""
