"""Labels to doubt: photos that by all others look like another class."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from littledata.core.progress import progress
from littledata.features import layers
from littledata.photos.listing import Listing
from littledata.photos.photo import Photo
from littledata.pictures import deep, images

FOLDS = 5
SIZE = 160  # px, of the photos whose features are compared
SUSPICIOUS = 0.1  # a photo's own class gets less than this by the others, and another one more than half
PENALTY = 0.05  # L2, beside the mean loss of a photo: the best of 0.0005 to 5 for 200 and 2,000 photos of cats and dogs


def doubtful(photos: Sequence[Photo], listing: Listing, network: layers.Frozen, depth: deep.Depth) -> list[tuple[Photo, str]]:
    """Photos and the class that each looks like, worst first.

    Logistic regression on the pretrained network's features, averaged over the photo, cross-validated: what is said of a photo is said
    without it.
    """
    features = []

    def load(photo: Photo) -> np.ndarray:
        return network.preprocess(images.square(listing.read(photo), SIZE, depth=depth)[None], "imagenet")

    with progress(len(photos), "labels") as bar:
        for batch in network.outputs(photos, load):
            features += list(batch.mean((1, 2)))
            bar.update(len(batch))
    classes, labels = np.unique([photo.kind for photo in photos], return_inverse=True)
    regression = LogisticRegression(C=1 / (PENALTY * len(photos)), max_iter=1000, class_weight="balanced")
    model = make_pipeline(StandardScaler(), regression)
    probabilities = cross_val_predict(model, np.array(features), labels, cv=FOLDS, method="predict_proba")
    right = probabilities[np.arange(len(labels)), labels]
    worst = [number for number in np.argsort(right) if right[number] < SUSPICIOUS and probabilities[number].max() > 0.5]
    return [(photos[number], classes[probabilities[number].argmax()]) for number in worst]
