"""Several at once: in one clone, in two clones on one cache, and a queue's workers beside a run."""

import random
import re
import shutil
import time
from collections.abc import Sequence
from typing import Any

from studies.faults.ground import REPRO, Fault, Ground, brief, rounds, twin

BUSY = re.compile(r"lock|busy|Unable to acquire|runs here|another", re.IGNORECASE)
EXPERIMENT = "dvc", "exp", "run", "-S", "top.dropout=0.4", "-S", "small_cnn.dropout=0.4"


def both(fault: Fault, where: str, processes: Sequence, grounds: Sequence[Ground], through: bool = True) -> None:
    """Wait for all; each has to end well, or to be refused in words, and the same command has to end well afterwards. With `through`
    one of them has to get through."""
    ends = [(process.communicate()[0], process.returncode) for process in processes]
    wrong = None
    for said, status in ends:
        if "Traceback (most" in said or (status and not BUSY.search(said)):
            wrong = f"ended with {status}: {brief(said)}"
    if through and all(status for _, status in ends):
        wrong = wrong or f"none of them got through: {brief(ends[0][0])}"
    for ground in grounds:
        wrong = wrong or ground.again()
    fault.note(where, wrong)


def run(grounds: Sequence[Ground], seconds: dict[str, float], until: float, seed: int) -> list[Fault]:
    ground, rng, stages = grounds[0], random.Random(seed), list(seconds)
    faults = [one, beside, shared, queue] = [
        Fault(what)
        for what in (
            "two runs in one clone", "an experiment begun beside a run", "two clones on one cache", "a queue's workers beside a run"
        )
    ]  # fmt: skip
    for _ in rounds(until, 3):
        stage = rng.choice(stages[2:9])
        ground.forget(stage)
        commands: Any = rng.choice([[REPRO, REPRO], [REPRO, ("dvc", "exp", "run")], [("tools.repro",), REPRO]])
        both(
            one, f"{stage}, {' and '.join(words[-1] for words in commands)}", [ground.start(*words) for words in commands], [ground]
        )
        ground.git("checkout", "-q", "-f", "main")
    for _ in rounds(until, 2):
        stage = rng.choice(stages[2:9])
        ground.forget(stage)
        first = ground.start(*REPRO)
        time.sleep(2 + rng.random() * seconds[stage])  # while that stage runs
        both(beside, stage, [first, ground.start(*EXPERIMENT)], [], through=False)
        ground.git("checkout", "-q", "-f", "main")
        beside.note(f"{stage}, hashes", ground.again())
    clones = [twin(ground, ground.folder.parent / f"clone{number}") for number in range(2)]
    for clone in clones:
        clone.run("dvc", "cache", "dir", "--local", str(ground.folder / ".dvc/cache"))
    for _ in rounds(until, 2):
        stage = rng.choice(stages[2:9])
        for path in ground.runs(stage):
            shutil.rmtree(path.parent)
        for clone in clones:
            clone.forget(stage)
        both(shared, stage, [clone.start(*REPRO) for clone in clones], [])
        for clone in clones:
            status, said = clone.run(*REPRO)
            shared.note(f"{stage}, hashes", brief(said) if status else clone.wrong())
    for number in rounds(until, 1):
        for place in 1, 2:
            ground.run("dvc", "exp", "run", "--queue", "-S", f"finetune.seed={4 + 2 * number + place}")
        ground.forget("top")
        workers = ground.start("dvc", "queue", "start", "-j", "2")
        both(queue, "two experiments", [workers, ground.start(*REPRO)], [])
        for _ in range(100):  # each takes a second
            said = ground.run("dvc", "queue", "status")[1]
            if not re.search(r"Running|Queued", said):
                break
        queue.note("the queue's end", None if len(re.findall("Success", said)) >= 2 else brief(said))
        ground.run("dvc", "queue", "remove", "--all")
        queue.note("hashes", ground.again())
    return faults
