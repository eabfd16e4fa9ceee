"""A level's training: batches, the loop with its looks at the validation photos, the optimizer, and checkpoints to go on from.

It imports `core`, `splits`, `scores`, `networks` and `features`.
"""
