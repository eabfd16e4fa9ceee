"""Several at once: in one clone, in two clones on one cache, and a queue's workers beside a run."""

import random
import re
import time
from collections.abc import Iterator, Sequence

from studies.faults.ground import REPRO, Place, Tried, brief, kind

BUSY = re.compile(r"lock|busy|Unable to acquire|runs here|another", re.IGNORECASE)
EXPERIMENT = "dvc", "exp", "run", "-S", "top.dropout=0.4", "-S", "small_cnn.dropout=0.4"
ALTERNATIVES: list[list[tuple[str, ...]]] = [[REPRO, REPRO], [REPRO, ("dvc", "exp", "run")], [("tools.repro",), REPRO]]


def ends(processes: Sequence, all_refused: bool = False) -> str | None:
    """Wait for all; each has to end well, or to be refused in words, and one of them has to get through unless all may be refused."""
    printed = [(process.communicate()[0], process.returncode) for process in processes]
    for text, status in printed:
        if "Traceback (most" in text or (status and not BUSY.search(text)):
            return f"ended with {status}: {brief(text)}"
    through = all_refused or not all(status for _, status in printed)
    return None if through else f"none of them got through: {brief(printed[0][0])}"


def a_stage(place: Place, rng: random.Random) -> str:
    return rng.choice(list(place.seconds)[2:9])


@kind("two runs in one clone")
def one_clone(place: Place, rng: random.Random) -> Iterator[Tried]:
    ground, stage, commands = place.ground(), a_stage(place, rng), rng.choice(ALTERNATIVES)
    ground.forget(stage)
    failure = ends([ground.start(*words) for words in commands])
    yield Tried(f"{stage}, {' and '.join(words[-1] for words in commands)}", failure or ground.again())


@kind("an experiment begun beside a run")
def beside(place: Place, rng: random.Random) -> Iterator[Tried]:
    ground, stage = place.ground(), a_stage(place, rng)
    ground.forget(stage)
    first = ground.start(*REPRO)
    time.sleep(2 + rng.random() * place.seconds[stage])  # while that stage runs
    failure = ends([first, ground.start(*EXPERIMENT)], all_refused=True)
    ground.git("checkout", "-q", "-f", "main")
    yield Tried(stage, failure or ground.again())


@kind("two clones on one cache")
def one_cache(place: Place, rng: random.Random) -> Iterator[Tried]:
    stage, clones = a_stage(place, rng), [place.ground(f"clone{number}") for number in range(2)]
    for clone in clones:
        clone.run("dvc", "cache", "dir", "--local", str(clones[0].folder / ".dvc/cache"))
        clone.forget(stage)
    failure = ends([clone.start(*REPRO) for clone in clones], all_refused=True)
    yield Tried(stage, next((wrong for wrong in [failure, *(clone.again() for clone in clones)] if wrong), None))


@kind("a queue's workers beside a run")
def queue(place: Place, rng: random.Random) -> Iterator[Tried]:
    ground = place.ground()
    for dropout in 0.4, 0.6:
        ground.run("dvc", "exp", "run", "--queue", "-S", f"finetune.dropout={dropout}")
    ground.forget("top")
    failure = ends([ground.start("dvc", "queue", "start", "-j", "2"), ground.start(*REPRO)])
    for _ in range(100):  # each takes a second
        if not re.search(r"Running|Queued", printed := ground.run("dvc", "queue", "status")[1]):
            break
    if len(re.findall("Success", printed)) < 2:
        failure = failure or brief(printed)
    yield Tried("two experiments", failure or ground.again())
