"""A level's training: batches, the loop with its looks at the validation photos, the optimizer, and checkpoints to go on from. And the
answers of a trained level for the photos of a split.

It imports `core`, `pictures`, `splits`, `scores`, `networks` and `features`.
"""
