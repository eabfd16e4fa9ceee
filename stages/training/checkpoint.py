"""A training leaves a checkpoint after every epoch, so that the same command goes on where it was interrupted."""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stages.core import environment, files, params
from stages.networks import keras

CHECKPOINTS = environment.ROOT / ".cache/training"
ABANDONED_SECONDS = 14 * 24 * 3600


def identity(stage: str) -> str:
    """Compute a digest of all that a stage's result depends on: its params, its code, the data it reads, and the number of
    threads, by which sums are split.

    It names the checkpoint, so that a training never takes the checkpoint of another one.
    """
    sha256 = hashlib.sha256(f"{environment.THREADS} {params.for_stage(stage)}".encode())
    for dep in map(Path, params.declared(stage)["deps"]):
        for file in files.of(dep) if dep.is_dir() else [dep]:
            sha256.update(f"{file}\0{files.sha256_of(file)}\0".encode())
    return sha256.hexdigest()


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

    def save(self, history: Sequence[dict[str, float]], best: Sequence[np.ndarray], probabilities: np.ndarray) -> None:
        """Write the state, the epochs so far, and the best weights and their probabilities of the validation photos."""
        content = {f"state{number}": np.asarray(variable) for number, variable in enumerate(self.state)}
        content |= {f"best{number}": weight for number, weight in enumerate(best)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb") as file:
            np.savez(file, history=json.dumps(list(history)), probabilities=probabilities, **content)
            file.flush()
            os.fsync(file.fileno())  # else a machine that goes down may leave the name without the content
        os.replace(part, self.path)

    def resume(self) -> tuple[list[dict[str, float]], list[np.ndarray], np.ndarray]:
        """Put the model back to where an interrupted run of this very training was. Returns what that run gave to `save`;
        without such a run, or where its file is damaged, nothing of each."""
        if not self.path.exists():
            return [], [], np.empty(0)
        try:
            with zipfile.ZipFile(self.path) as kept, np.load(self.path, allow_pickle=False) as saved:
                if spoilt := kept.testzip():  # by checksums: NumPy alone believes a spoilt header
                    raise zipfile.BadZipFile(spoilt)
                state = [saved[f"state{number}"] for number in range(len(self.state))]
                best = [saved[f"best{number}"] for number in range(self.weights)]
                history, probabilities = json.loads(str(saved["history"])), saved["probabilities"]
        except Exception as error:  # a spoilt zip has a dozen
            print(f"{self.path} is damaged ({type(error).__name__}): removed, the training starts anew", flush=True)
            self.path.unlink()
            return [], [], np.empty(0)
        for variable, value in zip(self.state, state):
            variable.assign(value)
        return history, best, probabilities

    def remove(self) -> None:
        """Remove this training's file when it has ended, and old files of runs that nobody took up again."""
        self.path.unlink(missing_ok=True)
        for abandoned in CHECKPOINTS.glob("*"):
            if time.time() - abandoned.stat().st_mtime > ABANDONED_SECONDS:
                abandoned.unlink(missing_ok=True)
