"""The commands `predict` and `submit`: from photos anywhere to answers on a screen, in a table or in Parquet files.

It imports `core`, `photos`, `export` and `shards`, and loads no TensorFlow.
"""
