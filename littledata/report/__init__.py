"""The model card, the gallery and the curves: what `make publish` shows to people of a finished run.

It may import every room but `training`, `shards` and `predict`. Only the stages of publish/ import it.
"""
