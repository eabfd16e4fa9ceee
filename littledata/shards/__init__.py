"""Work on more photos than one run should hold: listed where they lie, in a folder or a bucket, and cut into shards, each a pure
function of its list of photos, the network and the settings, written whole or not at all, and skipped where it is already there.
Whoever schedules shards changes none of their bytes.
"""
