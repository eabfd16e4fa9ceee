"""Look for better params by Optuna, every trial a DVC experiment, until the time is up. `make search`

    python -m tools.search --minutes 60
    python -m tools.search --minutes 60 -R finetune.lr=1e-6..1e-3 -R finetune.dropout=0..0.8 -R top.units=64..512

The first trial has the params as they are, and comes from the cache, like every stage whose params a trial leaves. Trials
are judged by level 3's log loss on validation photos: it is less noisy than accuracy, and test photos have no say. They
run in copies, the workspace stays as it is. A search that was stopped goes on when it is started again.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping

import dvc.api
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from littledata.core import command, environment, params
from littledata.core.errors import UserError
from littledata.scores import metrics
from tools import experiment, recipe

STUDIES = environment.ROOT / ".cache/search.db"
RANGES = ["finetune.lr=3e-6..3e-4", "finetune.dropout=0..0.8"]
WIDE = 50  # a range whose end is so many times its beginning is searched by its logarithm
FAILURES = 3  # so many trials may fail, by diverging for example, before something else must be wrong


def distribution(text: str, settings: Mapping) -> tuple[str, BaseDistribution]:
    """A range as written, `name=low..high`: the param's name and Optuna's distribution. Whole numbers stay whole.

    Raises
    ------
    UserError
        If it is no range, or params.yaml has no such number.
    """
    name, _, ends = text.partition("=")
    own = recipe.value(settings, name)
    if type(own) not in (int, float):
        raise UserError(f"{text}: {name} is not a number.")
    try:
        low, high = map(float, ends.split(".."))
        return name, (IntDistribution if type(own) is int else FloatDistribution)(low, high, log=low > 0 and high / low >= WIDE)
    except ValueError:
        raise UserError(f"{text}: expected NAME=LOW..HIGH, such as finetune.lr=1e-6..1e-3.") from None


def study_of(space: Mapping[str, BaseDistribution], settings: Mapping) -> optuna.Study:
    """The study of these ranges in this commit with all other params as they are, new or begun before."""
    own = {name: min(max(recipe.value(settings, name), kind.low), kind.high) for name, kind in space.items()}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    what = json.dumps([commit, settings, {name: repr(kind) for name, kind in space.items()}], sort_keys=True, default=dict)
    name = f"search-{hashlib.sha256(what.encode()).hexdigest()[:6]}"
    STUDIES.parent.mkdir(exist_ok=True)
    study = optuna.create_study(storage=f"sqlite:///{STUDIES}", study_name=name, load_if_exists=True)
    # Begun again, the same random numbers would ask for the same trials.
    study.sampler = optuna.samplers.TPESampler(seed=len(study.trials))
    if own not in [trial.params for trial in study.get_trials(states=[TrialState.COMPLETE])]:
        study.enqueue_trial(own)
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
    failed = 0
    while time.monotonic() < end and failed < FAILURES:
        trial = study.ask(space)
        name = f"{study.study_name}-{trial.number}"
        if experiment.run([f"{name}={value}" for name, value in trial.params.items()], "--temp", "-n", name):
            failed += 1
            study.tell(trial, state=TrialState.FAIL)
        else:
            results = metrics.parse(dvc.api.read(str(metrics.SCORES), rev=name))
            study.tell(trial, results["finetune"]["validation"]["log_loss"])
    done = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda trial: trial.value)
    if not done or failed == FAILURES:
        sys.exit(f"{failed} trials failed and {len(done)} ended: see above why.")
    print(f"\n{len(done)} trials, level 3's log loss on validation photos, the best ones first:")
    for trial in done[:5]:
        changes = ", ".join(f"{name} {number:.3g}" for name, number in trial.params.items())
        print(f"{trial.value:.4f}  {study.study_name}-{trial.number}: {changes}")
    print(f"keep one: dvc exp apply {study.study_name}-{done[0].number}")


if __name__ == "__main__":
    command.start(main)
