"""Go back to the params and results from before the last `make repro`, or from before an experiment that was killed.

    python -m tools.back           # make back
    python -m tools.back --undo    # make back UNDO=1: and forth again

Files that no run writes stay as they are. What a run may change, and DVC's cache does not hold, is kept in a commit before a run.
`dvc exp run` and `dvc exp save` work on a detached HEAD, put own edits away for a while, and leave all of that where they are killed.
`lead_back` finds it, here and at the start of the next run.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from littledata.core import command, lockfile, params
from littledata.core.errors import UserError
from tools import experiment

# Git has refs under refs/worktree/ for each worktree anew, and its garbage collection leaves what they name.
BEFORE = "refs/worktree/repro/before"
UNDONE = "refs/worktree/repro/undone"
RUNNING = "refs/worktree/repro/running"  # the commit on which a run has begun that has not ended
# DVC's, which it removes at an experiment's end. An experiment that is left on its stash would run with the next one.
BASELINE, MERGE = "refs/exps/exec/EXEC_BASELINE", "refs/exps/exec/EXEC_MERGE"
LEFT = (BASELINE, MERGE, "refs/exps/exec/EXEC_BRANCH", "refs/exps/stash")
NOTES = [Path(".dvc/tmp", name) for name in ("exps/rwlock", "exps/run/workspace/workspace.json")]
TREE = ("ls-tree", "-r", "-z", "--name-only")


def git(*words: str, check: bool = True, stdin: str | None = None, **variables: str) -> str:
    """What a Git command prints. One that fails raises UserError with Git's reason; with `check` false it has printed ""."""
    env = os.environ | {"GIT_LITERAL_PATHSPECS": "1"} | variables
    done = subprocess.run(["git", *words], env=env, input=stdin, capture_output=True, encoding="utf-8", errors="surrogateescape")
    if done.returncode and check:
        lines = done.stderr.strip().splitlines() or ["failed"]  # after a fatal one there is advice
        raise UserError(f"git {words[0]}: {next((line for line in lines if line.startswith('fatal: ')), lines[-1])}")
    return "" if done.returncode else done.stdout.removesuffix("\n")


def names(*words: str) -> set[str]:
    """The files that a Git command lists with `-z`."""
    return set(git(*words).split("\0")) - {""}


def commit_of(name: str) -> str:
    """The commit that a name stands for; "" where there is none."""
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False)


def written() -> list[str]:
    """What a run writes: params.yaml, the stages' outputs, and their locks."""
    stages = lockfile.stages(*params.PIPELINES).values()
    outs = [path for stage in stages for path in lockfile.paths(stage, "outs", "metrics", "plots")]
    return [str(params.PARAMS), *map(str, lockfile.LOCKS), *outs]


def here() -> set[str]:
    """The files here that a run writes and DVC's cache does not hold."""
    return set(filter(os.path.lexists, names("ls-files", "-z", "-co", "--exclude-standard", "--", *written())))


def kept() -> str:
    """A commit on HEAD of these files alone, as they are now."""
    env: dict[str, Any] = experiment.environment()
    with tempfile.TemporaryDirectory() as folder:
        index: dict[str, Any] = {"GIT_INDEX_FILE": f"{folder}/index"}
        git("update-index", "--add", "-z", "--stdin", stdin="\0".join([*here(), ""]), **index)
        tree = git("write-tree", **index)
        return git("commit-tree", tree, "-p", "HEAD", "-m", "params and results, kept by tools.back", **env)


def changed(before: str, after: str) -> set[str]:
    """The files in which two commits differ."""
    return names("diff-tree", "-r", "-z", "--name-only", before, after)


def take(commit: str, files: Iterable[str]) -> None:
    """Make files what a commit has of them; those that it lacks are removed."""
    files, its = set(files), names(*TREE, commit)
    for name in files - its:
        Path(name).unlink(missing_ok=True)
    if files & its:
        git("restore", f"--source={commit}", "--worktree", "--overlay", "--", *files & its)


def check_idle() -> None:
    """Raise UserError where DVC still runs stages in this folder: its notes name it only while it holds a lock, between stages it does
    not."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == os.getcwd() and {"repro", "run"} & {*words} and "dvc" in map(os.path.basename, words):
            raise UserError(f"DVC still runs here, as process {process.pid}. Wait for its end, or stop it, and start again.")


def beginning() -> bool:
    """Whether DVC's note says that an experiment is on its way to DVC's stash, while own edits are on Git's."""
    return NOTES[0].exists() and '"workspace"' in NOTES[0].read_text()


def taken_from() -> str:
    """The branch from which an experiment has taken HEAD, if one has. Git's own log tells."""
    if git("symbolic-ref", "--quiet", "HEAD", check=False) or not (commit_of(BASELINE) or beginning()):
        return ""
    # Whoever came back by hand and detached HEAD later on meant it. An experiment that ends commits on the detached HEAD.
    log = [line for line in git("reflog", "-3", "--format=%gs").splitlines() if not line.startswith("commit: dvc: ")]
    moved = re.match(r"checkout: moving from (\S+) to ([0-9a-f]{40})", "\n".join(log))
    if not moved or "".join(log[1:]).startswith(f"checkout: moving from {moved[2]} "):
        return ""
    right = moved[2] in (commit_of("HEAD"), commit_of("HEAD^1")) and moved[2] == commit_of(f"refs/heads/{moved[1]}")
    return moved[1] if right else ""  # a branch that was moved since isn't where it came from


def put_away() -> list[str]:
    """The commits in which a killed experiment has put own edits away; those on Git's stash are taken off it."""
    commits = [commit_of(MERGE)] if commit_of(MERGE) else []
    while beginning() and not commit_of(MERGE) and (top := commit_of("refs/stash")):
        time, subject = git("show", "--no-patch", "--format=%ct%n%s", top).split("\n", 1)
        if int(time) < int(NOTES[0].stat().st_mtime):
            break
        commits += [] if "dvc-exp:" in subject else [top]  # that is the experiment itself, on its way
        git("stash", "drop", "--quiet")
    return [commit for commit in commits if commit_of(f"{commit}^1") == commit_of("HEAD")]


def edited(name: str, commit: str) -> bool:
    """Whether a file here is neither as HEAD nor as a commit has it, nor the beginning of that: DVC checks HEAD out before it applies what
    it has put away, and a kill may have cut off what it wrote."""
    path = Path(name)
    text = path.read_bytes().decode(errors="surrogateescape").replace("\r\n", "\n") if path.exists() else ""
    return not any(f"{git('show', f'{of}:{name}', check=False)}\n".startswith(text) for of in ("HEAD", commit))


def lead_back() -> str:
    """Where an experiment was killed, put HEAD and index as they were, and bring own edits back.

    The working files stay, so that the next run goes on with them. Returns the commit that holds what the experiment began with; ""
    where there was none, or where it was the end of `make repro`.
    """
    check_idle()
    branch, begun = taken_from(), commit_of(BASELINE) or beginning()
    if branch:
        git("symbolic-ref", "-m", "tools.back: where it was before an experiment", "HEAD", f"refs/heads/{branch}")
        print(f"An experiment that was killed left HEAD detached: back on the branch {branch}.", flush=True)
    commits = put_away() if begun else []
    if branch or commits:
        git("read-tree", "HEAD" if commit_of(MERGE) or not commits else f"{commits[0]}^2")  # which Git's stash has, and DVC's not
    for commit in commits:
        take(commit, {name for name in changed("HEAD", commit) if not (name.startswith(".dvc/") or edited(name, commit))})
    for ref in LEFT if begun else ():
        git("update-ref", "--no-deref", "-d", ref, check=False)
    for note in NOTES if begun else ():
        note.unlink(missing_ok=True)
    return (commits or ["HEAD"])[0] if begun and not commit_of(RUNNING) else ""


def keep() -> str:
    """Before a run: keep what it may change, unless the run goes on where one with the same start was killed. Returns the commit."""
    if not commit_of(RUNNING) == commit_of(f"{BEFORE}^1") == commit_of("HEAD"):
        git("update-ref", "--create-reflog", BEFORE, kept())
        git("update-ref", RUNNING, "HEAD")
    print("The way back from here: make back", flush=True)
    return commit_of(BEFORE)


def ended() -> None:
    """After a run, however it ended: no later run goes on with this one."""
    git("update-ref", "-d", RUNNING, check=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--undo", action="store_true", help="go forth again to what the last way back left")
    undo = parser.parse_args().undo
    begun, now, target = lead_back(), kept(), commit_of(UNDONE if undo else BEFORE)
    at_head = commit_of(f"{target}^1") == commit_of("HEAD")
    if undo and not at_head:
        raise UserError("Nothing was undone at this commit.")
    if begun and not undo:
        take(begun, names(*TREE, begun, "--", *written()[1:]))
        if git("diff", "--name-only", "HEAD", "--", str(params.PARAMS)):
            print("params.yaml stays as it is: what -S has set can't be told from your own edits. See `git diff params.yaml`.")
    elif at_head:
        take(target, here() | names(*TREE, target))
    else:
        print("No run began at this commit: params.yaml and results go back to what was committed.")
        take("HEAD", names(*TREE, "HEAD", "--", *written()))
    if changed(now, kept()):
        git("update-ref", "--create-reflog", UNDONE, now)
        print("What was here is kept. It comes again by: make back UNDO=1")
    words = [sys.executable, "-m", "dvc", "checkout", "--quiet", "--force", "--allow-missing"]
    status = subprocess.run(words, env=experiment.environment()).returncode
    ended()
    branch, edited = git("symbolic-ref", "--quiet", "--short", "HEAD", check=False), git("status", "--porcelain")
    place = f"on the branch {branch}" if branch else f"at {commit_of('HEAD')[:7]}"
    print(f"The workspace is {place}, {'with edits that are not committed' if edited else 'as it was committed'}.")
    sys.exit(status)


if __name__ == "__main__":
    command.start(main, "Stopped. The same command goes the rest of the way.")
