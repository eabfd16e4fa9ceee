"""Work on more photos than one run should hold. The photos lie in a folder, in a bucket or in a list, and are cut into shards.

A shard's bytes depend only on its list of photos, the network and the settings. It is written whole or not at all, and one that is
there is not computed again. So it does not matter which machine computes a shard, here or on a Ray cluster. It imports `core`,
`pictures`, `photos`, `splits`, `networks`, `export` and `features`.
"""
