"""What a level answers for each photo, and whether it is right."""

from collections.abc import Iterable
from typing import NamedTuple

from littledata.scores import predicted
from littledata.splits import dataset


class Answer(NamedTuple):
    """A level's answer for one photo: the class that it predicts, the probability of that class, and that of the right class."""

    photo: dataset.Photo
    predicted: str
    confidence: float
    truth: float

    @property
    def right(self) -> bool:
        return self.predicted == self.photo.kind


def read(level: str, splits: Iterable[str]) -> list[Answer]:
    """A level's answers for all photos of the splits, the worst mistake first, the surest right answer last."""
    photos = {photo.file: photo for photo in dataset.read_manifest()}
    answers = []
    for split in splits:
        files, labels, probabilities, classes = predicted.read(level, split)
        for file, label, row in zip(files, labels, probabilities, strict=True):
            answers.append(Answer(photos[file], classes[row.argmax()], float(row.max()), float(row[label])))
    return sorted(answers, key=lambda answer: (answer.right, answer.truth, answer.photo.file))
