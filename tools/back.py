"""Go back to the workspace as it was before the last `make repro`, own edits included.

    python -m tools.back           # make back
    python -m tools.back --undo    # make back UNDO=1: and forth again

A run keeps what it starts from as a commit in the form of Git's stash: parents are HEAD, the index and, where there are any,
the results that nobody committed yet. `dvc exp run` works on a detached HEAD, and leaves it there when it is killed, with its
changes staged. `lead_back` finds that, here and at the start of the next run.
"""

import argparse
import contextlib
import functools
import json
import operator
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from littledata.core import command, lockfile, params
from littledata.core.errors import UserError
from tools import experiment

# Git has refs under refs/worktree/ for each worktree anew, and its garbage collection leaves what they name.
BEFORE = "refs/worktree/repro/before"
UNDONE = "refs/worktree/repro/undone"
RUNNING = "refs/worktree/repro/running"  # stands for HEAD while a run has it: the branch, or the commit of a detached one
# DVC's, which it removes at an experiment's end. An experiment that is left on its stash would run with the next one.
LEFT = ("refs/exps/exec/EXEC_BASELINE", "refs/exps/exec/EXEC_MERGE", "refs/exps/exec/EXEC_BRANCH", "refs/exps/stash")
NOTES = Path(".dvc/tmp/exps")


def git(*words: str, check: bool = True, given: str | None = None, **variables: str) -> str:
    """What a Git command prints. One that fails raises UserError with Git's reason; with `check` false it has printed ""."""
    env = os.environ | {"GIT_LITERAL_PATHSPECS": "1"} | variables
    done = subprocess.run(["git", *words], env=env, input=given, capture_output=True, encoding="utf-8", errors="surrogateescape")
    if done.returncode and check:
        lines = done.stderr.strip().splitlines() or ["failed"]  # after a fatal one there is advice
        raise UserError(f"git {words[0]}: {next((line for line in lines if line.startswith('fatal: ')), lines[-1])}")
    return "" if done.returncode else done.stdout.removesuffix("\n")


def commit_of(name: str) -> str:
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)


def place(ref: str) -> str:
    """The branch that HEAD or RUNNING is on, by its full name, or else its commit; "" where there is no such ref."""
    return git("symbolic-ref", "--quiet", ref, check=False) or commit_of(ref)


def shown(what: str, commit: str) -> str:
    return git("show", "--no-patch", f"--format={what}", commit)


def parts(commit: str) -> list[str]:
    """The trees of a kept workspace: working files, index, and results that nobody committed ("": none)."""
    return [git("rev-parse", "--verify", "--quiet", f"{commit}{part}^{{tree}}", check=False) for part in ("", "^2", "^3")]


def results() -> list[str]:
    """What the pipeline files say that a run makes, and their locks."""
    found = [str(path) for path in lockfile.LOCKS]
    for path in params.PIPELINES:
        try:
            declared = lockfile.load(path.read_text(), str(path))
        except OSError as error:
            raise UserError(f"{path} can't be read: {error.strerror}.") from None
        for stage in declared.values():
            names = lockfile.paths(stage, "outs", "metrics", "plots")
            found += [os.path.normpath(path.parent / stage.get("wdir", "") / name) for name in names]
    return found


def uncommitted() -> list[str]:
    """Results that are here, in no index and not ignored."""
    return git("ls-files", "-z", "--others", "--exclude-standard", "--", *results()).split("\0")[:-1]


def kept() -> str:
    """A commit that holds the workspace as it is now, in the form of Git's stash."""
    env = experiment.environment()
    git("update-index", "-q", "--refresh", check=False)  # `git stash create` fails where only files' times have changed
    base, files = commit_of("HEAD"), git("stash", "create", **env) or "HEAD"
    trees = [git("write-tree")]
    if new := uncommitted():
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": f"{folder}/index"}
            git("update-index", "--add", "-z", "--stdin", given="".join(f"{name}\0" for name in new), **index)
            trees.append(git("write-tree", **index))
    parents = [base, *(git("commit-tree", tree, "-p", base, "-m", "part of a kept workspace", **env) for tree in trees)]
    message = f"the workspace at {base[:7]}, kept by tools.back"
    return git("commit-tree", f"{files}^{{tree}}", *(word for parent in parents for word in ("-p", parent)), "-m", message, **env)


def restore(commit: str) -> None:
    """Make index, working files and uncommitted results what a kept workspace holds."""
    git("restore", f"--source={commit}^2", "--staged", "--", ".")
    git("restore", f"--source={commit}", "--worktree", "--", ".")
    had = []
    if parts(commit)[2]:
        git("restore", f"--source={commit}^3", "--worktree", "--overlay", "--", ".")
        had = git("ls-tree", "-r", "-z", "--name-only", f"{commit}^3").split("\0")
    for name in set(uncommitted()) - set(had):
        Path(name).unlink()


def workers() -> dict[Path, int]:
    """The processes that DVC notes while an experiment has the workspace, by the files that it notes them in."""
    found = {}
    for path, keys in ((NOTES / "rwlock", ("write", "workspace", "pid")), (NOTES / "run/workspace/workspace.json", ("pid",))):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found[path] = functools.reduce(operator.getitem, keys, json.loads(path.read_text()))
    return found


def lives(note: Path, number: int) -> bool:
    """Whether a process that was noted still runs; one that is younger than its note only has got the same number."""
    try:
        process = psutil.Process(number)
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= note.stat().st_mtime
    except psutil.NoSuchProcess:
        return False


def named(place: str) -> str:
    return f"on the branch {place.removeprefix('refs/heads/')}" if place.startswith("refs/") else f"at {place[:7]}"


def left_by_experiment() -> tuple[str, str] | None:
    """Where HEAD was when an experiment took it, as `place` has it, and at which commit; None where HEAD is no such one."""
    if (here := place("HEAD")).startswith("refs/"):
        return None
    found = [(place(RUNNING), commit_of(f"{BEFORE}^1"))]
    if commit_of(LEFT[0]) or NOTES / "rwlock" in workers():
        # Not of `make repro`: Git's own log tells. Whoever came back by hand and detached HEAD later on meant it.
        log = [line for line in git("reflog", "-3", "--format=%gs").splitlines() if not line.startswith("commit: dvc: ")]
        moved = re.match(r"checkout: moving from (\S+) to ([0-9a-f]{40})", "\n".join(log))
        if moved and not "".join(log[1:]).startswith(f"checkout: moving from {moved[2]} "):
            found.append((f"refs/heads/{moved[1]}", moved[2]))
    # An experiment that ends commits on the detached HEAD. A branch that was moved since isn't where it came from.
    at = (here, commit_of(f"{here}^1"))
    return next(((was, base) for was, base in found if was and commit_of(was) == base and base in at), None)


def lead_back() -> None:
    """Where an experiment was killed, put HEAD and index as they were. The working files stay, so that the next run goes on
    with them; but where DVC was killed while it had the user's edits on Git's stash, they are brought back."""
    left, started = left_by_experiment(), place(RUNNING)
    if not (left or started):
        return
    if number := next((number for note, number in workers().items() if lives(note, number)), None):
        raise UserError(f"An experiment still runs here, as process {number}. Wait for its end, or stop it, and start again.")
    base = left[1] if left else commit_of("HEAD")
    own = commit_of(BEFORE) if started and commit_of(f"{BEFORE}^1") == base else ""
    if left:
        move = ["symbolic-ref"] if left[0].startswith("refs/") else ["update-ref", "--no-deref"]
        git(*move, "-m", "tools.back: where it was before an experiment", "HEAD", left[0])
        git("restore", f"--source={own}^2" if own else "--source=HEAD", "--staged", "--", ".")
        print(f"An experiment that was killed left HEAD detached: back {named(left[0])}.", flush=True)
    for ref in LEFT:
        git("update-ref", "--no-deref", "-d", ref, check=False)
    while top := commit_of("refs/stash"):
        # The user's edits are on it as they were kept; an entry of his own may be the same, but is older.
        edits = bool(own) and parts(top)[:2] == parts(own)[:2] and int(shown("%ct", top)) >= int(shown("%ct", own))
        if not edits and "dvc-exp:" not in shown("%s", top):
            break
        git("stash", "drop", "--quiet")
        if edits:
            restore(own)
    if left and not own and top and commit_of(f"{top}^1") == base:
        print("DVC may have left edits of yours on Git's stash: see `git stash list`.", flush=True)


def keep() -> None:
    """Before a run: keep the workspace, unless the run goes on where one with the same start was killed."""
    here, base = place("HEAD"), commit_of("HEAD")
    if (place(RUNNING), commit_of(f"{BEFORE}^1")) != (here, base):
        git("update-ref", "--create-reflog", BEFORE, kept())
        git(*(["symbolic-ref"] if here.startswith("refs/") else ["update-ref", "--no-deref"]), RUNNING, here)
    print("The way back from here: make back", flush=True)


def ended() -> None:
    """After a run, however it ended: where HEAD is its own again, no later run goes on with this one."""
    if place(RUNNING) == place("HEAD"):
        git("update-ref", "--no-deref", "-d", RUNNING)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--undo", action="store_true", help="go forth again to what the last way back left")
    options = parser.parse_args()
    lead_back()
    there, here, committed = commit_of(UNDONE if options.undo else BEFORE), kept(), parts("HEAD")[0]
    exact = commit_of(f"{there}^1") == commit_of("HEAD")
    if options.undo and not exact:
        raise UserError("Nothing was undone at this commit.")
    if parts(here) not in (parts(there), [committed, committed, ""]):
        git("update-ref", "--create-reflog", UNDONE, here)
        print("What was here is kept. It comes again by: make back UNDO=1")
    if exact:
        restore(there)
    else:
        print("No run began at this commit: only the files that a run writes go back, to what was committed.")
        written = git("ls-tree", "-r", "-z", "--name-only", "HEAD", "--", str(params.PARAMS), *results()).split("\0")[:-1]
        git("restore", "--source=HEAD", "--staged", "--worktree", "--", *written)
    words = [sys.executable, "-m", "dvc", "checkout", "--quiet", "--force", "--allow-missing"]
    status = subprocess.run(words, env=experiment.environment()).returncode
    ended()
    edits = "with edits that aren't committed" if git("status", "--porcelain") else "as it was committed"
    print(f"The workspace is {named(place('HEAD'))}, {edits}.")
    sys.exit(status)


if __name__ == "__main__":
    command.start(main, "Stopped. The same command goes the rest of the way.")
