"""A training leaves a checkpoint after every epoch, so that the same command goes on where it was interrupted."""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from littledata.core import environment, files, params
from littledata.networks import keras

CHECKPOINTS = environment.ROOT / ".cache/training"
KEPT = ("probabilities", "reference", "since")
ABANDONED_SECONDS = 14 * 24 * 3600


def identity(stage: str) -> str:
    """Compute a digest of all that a stage's result depends on: its params, its code, the data it reads, and the number of
    threads, by which sums are split.

    It names the checkpoint, so that a training never takes the checkpoint of another one.
    """
    declared = params.declared(stage)
    sha256 = hashlib.sha256(f"{environment.THREADS} {params.chosen(declared, params.load())}".encode())
    for dep in map(Path, declared["deps"]):
        for file in files.of(dep) if dep.is_dir() else [dep]:
            sha256.update(f"{file}\0{files.sha256_of(file)}\0".encode())
    return sha256.hexdigest()


@dataclass
class Best:
    """The look at the validation photos that a training keeps.

    Looks are compared photo by photo, and a difference of their losses counts where it is more than its own standard error. A look
    is a gain where its loss is lower than the `reference`, that of the last gain; smaller steps that add up to one are one. It is
    kept unless its loss is higher: of looks that are as good as each other the one that has trained longest. `since` counts the
    looks since the last gain. Without patience the last look is kept.
    """

    patience: int
    weights: list[np.ndarray] = field(default_factory=list)
    probabilities: np.ndarray = field(default_factory=lambda: np.empty(0))  # of the validation photos
    reference: np.ndarray = field(default_factory=lambda: np.empty(0))  # each validation photo's loss
    since: int = 0

    def update(self, weights: list[np.ndarray], probabilities: np.ndarray, losses: np.ndarray) -> None:
        """Take note of a look."""
        gain = self.reference - losses if len(self.reference) else np.ones(1)
        error = gain.std() / np.sqrt(len(gain))
        if not self.patience or gain.mean() >= -error:
            self.weights, self.probabilities = weights, probabilities
        if gain.mean() > error:
            self.reference, self.since = losses, 0
        else:
            self.since += 1

    @property
    def enough(self) -> bool:
        """Whether nothing more is to be expected."""
        return 0 < self.patience <= self.since


class Checkpoint:
    """The state of a stage's training, in a file of its own.

    Parameters
    ----------
    stage : str
    model : keras.Model
        Compiled, its optimiser built.
    """

    def __init__(self, stage: str, model: keras.Model) -> None:
        self.path = CHECKPOINTS / f"{stage}-{identity(stage)[:16]}.npz"
        self.weights = len(model.weights)
        # All that training changes: weights, moving averages, the random numbers of dropout, the optimiser.
        self.state: list[keras.Variable] = [*model.variables, *model.optimizer.variables]

    def save(self, history: Sequence[dict[str, float]], best: Best) -> None:
        """Write the state, the looks so far, and the best of them, which without patience is the state itself."""
        content: dict[str, Any] = {f"state{number}": np.asarray(variable) for number, variable in enumerate(self.state)}
        content |= {f"best{number}": weight for number, weight in enumerate(best.weights if best.patience else [])}
        content |= {name: getattr(best, name) for name in KEPT}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with files.whole(self.path) as file:
            np.savez(file, history=json.dumps(list(history)), **content)
            file.flush()
            os.fsync(file.fileno())  # else a machine that goes down may leave the name without the content

    def resume(self, best: Best) -> list[dict[str, float]]:
        """Put the model, and `best`, back to where an interrupted run of this very training was. Returns its looks; none where
        there is no such run, or where its file is damaged."""
        if not self.path.exists():
            return []
        try:
            with zipfile.ZipFile(self.path) as archive, np.load(self.path, allow_pickle=False) as saved:
                if spoilt := archive.testzip():  # by checksums: NumPy alone believes a spoilt header
                    raise zipfile.BadZipFile(spoilt)
                state = [saved[f"state{number}"] for number in range(len(self.state))]
                weights = [saved[f"best{number}"] for number in range(self.weights if best.patience else 0)]
                kept, history = {name: saved[name][()] for name in KEPT}, json.loads(str(saved["history"]))
        except Exception as error:  # a spoilt zip has a dozen
            print(f"{self.path} is damaged ({type(error).__name__}): removed, the training starts anew", flush=True)
            self.path.unlink()
            return []
        for variable, value in zip(self.state, state, strict=True):
            variable.assign(value)
        for name, value in {"weights": weights, **kept}.items():
            setattr(best, name, value)
        return history

    def remove(self) -> None:
        """Remove this training's file when it has ended, and old files of runs that nobody took up again."""
        self.path.unlink(missing_ok=True)
        files.remove_abandoned(CHECKPOINTS)
        for abandoned in CHECKPOINTS.glob("*"):
            if time.time() - abandoned.stat().st_mtime > ABANDONED_SECONDS:
                abandoned.unlink(missing_ok=True)
