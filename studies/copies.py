"""Copies of the working tree in which studies run stages, so that the workspace stays as it is."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from littledata.core import files, params
from studies import measure
from tools import recipe

SHARED = (".cache/downloads", ".cache/memo")


def workspace(folder: Path) -> Path:
    """Copy the tracked files as they are here into a folder, which is empty or not there. Downloads and the memo are the project's
    own."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True, check=True, text=True)
    for file in map(Path, filter(None, listed.stdout.split("\0"))):
        if file.is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, folder / file)
    (folder / ".cache").mkdir()
    for shared in map(Path, SHARED):
        shared.mkdir(parents=True, exist_ok=True)
        (folder / shared).symlink_to(shared.absolute(), target_is_directory=True)
    return folder


def settings(recipe_name: str | None, changes: Sequence[str] = ()) -> params.Params:
    """All params of params.yaml with a recipe, and with `name=value` changes on top, checked."""
    changed = recipe.changed_by(params.read(params.PARAMS), recipe.changes(recipe_name) + list(changes))
    return params.check(changed, params.PARAMS)


def write_params(folder: Path, given: params.Params) -> None:
    with files.whole(folder / params.PARAMS) as file:
        YAML(typ="safe", pure=True).dump(given.model_dump(), file)


def looks(folder: Path) -> list[float]:
    """After how many epochs level 3 has looked at validation photos, in a workspace."""
    header, *rows = (folder / "metrics/curves/finetune/plots/metrics/val_loss.tsv").read_text().splitlines()
    return [float(row.split("\t")[header.split("\t").index("step")]) for row in rows]


class Copy:
    """A copy in which stages run, each where its params have changed since the last time or an earlier one has run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.params = workspace(folder), {}

    def run(self, given: params.Params, stages: Sequence[str]) -> None:
        """Run stages with these params."""
        write_params(self.folder, given)
        ran = False
        for stage in stages:
            chosen = params.chosen(params.declared(stage), given)
            if ran := ran or self.params.get(stage) != chosen:
                measure.run(f"stages.{stage}", folder=self.folder, show=True)
            self.params[stage] = chosen
