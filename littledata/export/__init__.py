"""From a trained level to one ONNX file: the export, its int8 form, the classifier that runs it, and the check of a file of others.

It imports `core`, `pictures`, `splits` and `networks`.
"""
