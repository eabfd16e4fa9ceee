"""Where the stages' outputs lie that more than one room reads."""

from pathlib import Path

WEIGHTS = Path("models/backbone.weights.h5")  # of the pretrained network
CLASSIFIER = Path("models/classifier.onnx")
PREDICTIONS = Path("data/predictions.csv")
LISTED = Path("data/listed.csv")  # all photos of a bucket or list
