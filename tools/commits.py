"""What a commit, an experiment or the workspace holds: its files, its scores, what its stages have in the lock."""

import subprocess
from pathlib import Path

from littledata.core import lockfile
from littledata.scores import metrics


def text(path: str | Path, commit: str | None) -> str:
    """Read a file as Git has it in a commit, or for None as it is here; empty if it isn't there."""
    if commit is None:
        return Path(path).read_text() if Path(path).exists() else ""
    return subprocess.run(["git", "show", f"{commit}:./{path}"], capture_output=True, text=True).stdout


def scores(commit: str | None) -> dict[str, dict[str, dict[str, float]]]:
    """Read what `evaluate` found, `scores[level][split]`; nothing where it hasn't run."""
    return metrics.parse(text(metrics.SCORES, commit))


def locked(commit: str | None) -> dict[str, dict]:
    """Read every stage's lock entry."""
    return {stage: entry for path in lockfile.LOCKS for stage, entry in lockfile.load(text(path, commit), str(path)).items()}
