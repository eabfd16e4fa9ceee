"""The whole DAG again, with nothing from any cache: twice, elsewhere, under other settings, and with another number of cores."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from studies.faults.ground import REPRO, Fault, Ground, Work, beside, brief, twin

ELSEWHERE = {"LANG": "tr_TR.UTF-8", "LC_ALL": "C", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "7", "HOME": "/nowhere"}
WAYS: dict[str, dict[str, str]] = {
    "once more, in the same folder": {},
    "another folder, locale, time zone, HOME and PYTHONHASHSEED": ELSEWHERE,
    "one core": {"OMP_NUM_THREADS": "1"},
    "two cores": {"OMP_NUM_THREADS": "2"},
}


def anew(ground: Ground, fault: Fault, environment: dict[str, str]) -> None:
    """Run everything, and count the stages whose outputs have the same hashes."""
    folder: Path = ground.folder
    for name in (".dvc/cache", ".dvc/tmp", "data", "models", ".cache/memo", ".cache/training"):
        shutil.rmtree(folder / name, ignore_errors=True)
    ground.git("checkout", "-q", "-f", "main")
    status, said = ground.run(*REPRO, "--force", **environment)
    for name, rights in ground.stages.items():
        found = ground.locked(name)
        for stage, entry in rights.items():
            same = not status and found.get(stage, {}).get("outs") == entry["outs"]
            fault.note(stage, None if same else brief(said) if status else "other hashes")


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    place = grounds[0].folder.parent
    faults = [Fault(f"the same hashes: {way}") for way in WAYS]

    def work(fault: Fault, folder: str, environment: dict[str, str]) -> Work:
        return lambda ground: anew(twin(ground, place / folder), fault, environment)

    works = list(map(work, faults, ("again", "élsewhere & more", "one", "two"), WAYS.values()))
    random.Random(seed).shuffle(works)
    beside(works, grounds, until)
    return faults
