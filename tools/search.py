"""Look for better params by Optuna, every trial a DVC experiment, until the time is up. `make search`

    python -m tools.search --minutes 60
    python -m tools.search --minutes 60 -R finetune.lr=1e-6..1e-3 -R finetune.dropout=0..0.8 -R top.units=64..512

The first trial is params.yaml as it is, and comes from the cache, like every stage whose params a trial leaves as they
are. Trials are judged by level 3's log loss on validation photos: it is less noisy than accuracy, and test photos have
no say. A search that was stopped goes on when it is started again. The workspace ends as it was.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from stages.lib import environment, params
from stages.lib.errors import UserError
from tools import command, experiment, table

STUDIES = environment.ROOT / ".cache/search.db"
RANGES = ["finetune.lr=3e-6..3e-4", "finetune.dropout=0..0.8"]
WIDE = 50  # a range whose end is so many times its beginning is searched by its logarithm


def value(settings: Mapping, name: str):
    """A param by its dotted name; None where there is none."""
    for key in name.split("."):
        settings = settings.get(key) if isinstance(settings, Mapping) else None
    return settings


def distribution(text: str, settings: Mapping) -> tuple[str, BaseDistribution]:
    """A range as written, `name=low..high`: the param's name and Optuna's distribution. Whole numbers stay whole.

    Raises
    ------
    UserError
        If it is no range, or params.yaml has no such number.
    """
    name, _, ends = text.partition("=")
    try:
        low, high = map(float, ends.split(".."))
        known = value(settings, name)
        if type(known) not in (int, float):
            raise UserError(f"{text}: params.yaml has no number {name}.")
        kind = IntDistribution if type(known) is int else FloatDistribution
        return name, kind(low, high, log=low > 0 and high / low >= WIDE)
    except ValueError:
        raise UserError(f"{text}: expected NAME=LOW..HIGH, such as finetune.lr=1e-6..1e-3.") from None


def study_of(space: Mapping[str, BaseDistribution], settings: Mapping) -> optuna.Study:
    """The study of these ranges and of all other params as they are, new or begun before."""
    own = {name: value(settings, name) for name in space}
    others = json.dumps([settings, own, {name: repr(kind) for name, kind in space.items()}], sort_keys=True)
    name = f"search-{hashlib.sha256(others.encode()).hexdigest()[:6]}"
    STUDIES.parent.mkdir(exist_ok=True)
    study = optuna.create_study(storage=f"sqlite:///{STUDIES}", study_name=name, load_if_exists=True)
    # Begun again, the same random numbers would ask for the same trials.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    study.enqueue_trial(own, skip_if_exists=True)
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60, help="no trial starts after so long; default: 60")
    parser.add_argument("-R", dest="ranges", metavar="NAME=LOW..HIGH", action="append", help=f"default: {' '.join(RANGES)}")
    given = parser.parse_args()
    end, settings = time.monotonic() + 60 * given.minutes, params.load()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = dict(distribution(text, settings) for text in given.ranges or RANGES)
    study = study_of(space, settings)
    with experiment.workspace_as_it_was():
        while time.monotonic() < end:
            trial = study.ask(space)
            if experiment.run(trial.params, name=f"{study.study_name}-{trial.number}"):
                study.tell(trial, state=TrialState.FAIL)
                sys.exit(f"trial {trial.number} failed; the search goes on when it is started again.")
            study.tell(trial, json.loads(table.METRICS.read_text())["finetune"]["validation"]["log_loss"])
    done = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda trial: trial.value)
    print(f"\n{len(done)} trials, level 3's log loss on validation photos, the best ones first:")
    for trial in done[:5]:
        changes = ", ".join(f"{name} {number:.3g}" for name, number in trial.params.items())
        print(f"{trial.value:.4f}  {study.study_name}-{trial.number}: {changes}")
    print(f"keep one: dvc exp apply {study.study_name}-{done[0].number}")


if __name__ == "__main__":
    command.start(main)
