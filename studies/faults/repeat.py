"""The whole DAG again, with nothing from any cache: twice, elsewhere, under other settings, and with another number of cores."""

import random
import shutil
from collections.abc import Iterator

from studies.faults.ground import REPRO, Place, Tried, brief, kind

ELSEWHERE = {"LANG": "tr_TR.UTF-8", "LC_ALL": "C", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "7", "HOME": "/nowhere"}
CACHES = (".dvc/cache", ".dvc/tmp", "data", "models", ".cache/memo", ".cache/training")


def anew(folder: str, environment: dict[str, str], place: Place, rng: random.Random) -> Iterator[Tried]:
    """Run everything, and compare each stage's outputs."""
    ground = place.ground(folder)
    for name in CACHES:
        shutil.rmtree(ground.folder / name, ignore_errors=True)
    ground.git("checkout", "-q", "-f", "main")  # what Git has in these
    status, printed = ground.run(*REPRO, "--force", **environment)
    for name, entries in ground.locks.items():
        locked = ground.locked(name)
        for stage, entry in entries.items():
            same = locked.get(stage, {}).get("outs") == entry["outs"]
            yield Tried(stage, brief(printed) if status else None if same else "other hashes")


for way, folder, environment in (
    ("once more, in the same folder", "ground", {}),
    ("another folder, locale, time zone, HOME and PYTHONHASHSEED", "élsewhere & more", ELSEWHERE),
    ("one core", "ground", {"OMP_NUM_THREADS": "1"}),
    ("two cores", "ground", {"OMP_NUM_THREADS": "2"}),
):
    kind(f"the same hashes: {way}", folder, environment)(anew)
