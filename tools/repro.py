"""Choose where photos come from, run the pipeline as a DVC experiment, show the results.

    python -m tools.repro                                   # make repro
    python -m tools.repro --source microsoft                # make repro SOURCE=microsoft
    python -m tools.repro --source path --photos ~/pictures # make repro SOURCE=path PHOTOS=~/pictures
    python -m tools.repro --photos s3://team/photos         # make repro PHOTOS=s3://team/photos
    python -m tools.repro --recipe accurate                 # make repro RECIPE=accurate, or make accurate
    python -m tools.repro finetune.lr=0.001                 # make repro SET=finetune.lr=0.001, with other params

The choice is made once, where params.yaml still says `kaggle` and nobody has chosen before. Once its photos are
here it is noted in .cache/source, so that a later run on another network doesn't take other photos.
"""

import argparse
import contextlib
import copy
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from littledata.core import command, environment, lockfile, params
from littledata.core.errors import UserError
from littledata.photos import archive, fetch, listing, lists, sources
from tools import back, estimate, experiment, mend, plan, recipe, table

CHOSEN = Path(".cache/source")
BROUGHT = Path("data/raw/source.json")
TRACKED = ("params.yaml", "dvc.lock", "metrics", "publish", "REPORT.md")
OTHER_PHOTOS = """\
params.yaml is still that of your own photos: {network}, and {} training, {} validation and {} test photos. `make back`, or the
params.yaml of a commit before them, has the project's own."""
NEXT = """\
next:  . .venv/bin/activate                   for dvc, python and predict
       predict ~/pictures                     what is on your own
       dvc exp run -S finetune.lr=0.0001      an experiment: only level 3 runs again
       dvc exp show --only-changed            compare experiments
       dvc plots show                         curves, confusion and ROC as a page
       make blog                              the Keras blog's own recipe"""


def brought() -> str | None:
    """The source whose photos are here, if any are."""
    return json.loads(BROUGHT.read_text())["source"] if BROUGHT.exists() else None


def choose(asked: str | None, settings: dict) -> tuple[str, str]:
    """The source to use and why.

    What the user asks for wins, then what params.yaml says, then an earlier choice; only then what is in reach.
    """
    if asked:
        return asked, "you asked for it"
    if settings["download"]["source"] != "kaggle":
        return settings["download"]["source"], "params.yaml says so"
    public = [source for source in sources.SOURCES if source not in sources.OWN]  # of own photos params.yaml itself would say so
    if CHOSEN.exists() and (source := CHOSEN.read_text().strip()) in public:
        return source, "it was chosen before on this machine; another: make repro SOURCE=..."
    if given := sources.by_hand():
        return "kaggle", f"{sources.ARCHIVE_VARIABLE} names {given}"
    if (source := brought()) in public:
        return source, "its photos are here; others: make repro SOURCE=..."
    try:
        if sources.kaggle_credentials():
            return "kaggle", "this machine has Kaggle credentials"
        print("no hand-downloaded archive and no Kaggle credentials: looking for the public archive", flush=True)
    except UserError as error:  # nobody has asked for Kaggle's photos
        print(f"{error} Looking for the public archive.", flush=True)
    try:
        fetch.check_reachable(sources.MICROSOFT_URL)
        return "microsoft", "the public archive can be reached, Kaggle's needs a login"
    except fetch.Unreachable as error:
        print(error, flush=True)
    return "cifar10", "neither Kaggle's archive nor the public one can be had; its photos are 32 px small"


def recipe_of_own(source: str, settings: dict, changes: list[str]) -> str | None:
    """The recipe of own photos that are new here: `light`, unless params.yaml or the user's changes have a network of their own."""
    named = {change.partition("=")[0] for change in changes} & {"backbone", "finetune.unfreeze"}
    new = source in sources.OWN and settings["download"]["source"] not in sources.OWN
    if not new or settings["backbone"] != "VGG16" or named:
        return None
    print(
        "Recipe light, as good as VGG16 on own photos or better, in less time (docs/own-photos.md). VGG16: RECIPE=vgg16", flush=True
    )
    return "light"


def changed_by(settings: dict, changes: list[str]) -> dict:
    """Settings as `name=value` changes will have them.

    Raises
    ------
    UserError
        Where a name is none of theirs, or a value no YAML.
    """
    settings = copy.deepcopy(settings)
    for change in changes:
        name, _, value = change.partition("=")
        experiment.value(settings, name)
        parent, _, last = name.rpartition(".")
        try:
            (params.value(settings, parent) if parent else settings)[last] = YAML(typ="safe", pure=True).load(value)
        except YAMLError:
            raise UserError(f"{change}: expected {name}=VALUE, as params.yaml would have it.") from None
    return settings


def locked_elsewhere(settings: dict) -> bool:
    """Whether the user's own photos, or the list of them, lie on another machine, and dvc.lock is of them: a colleague has run this."""
    path, locked = settings["download"]["path"], lockfile.stages(*lockfile.LOCKS).get("download")
    if not path or (environment.ROOT / os.path.expanduser(path)).exists() or listed_before(settings) or not locked:
        return False
    return settings["download"] == locked["params"][str(params.PARAMS)]["download"]


def stays(photos: str | None) -> bool:
    """Whether PHOTOS can only be the source `bucket`."""
    return bool(photos) and ("://" in photos or photos.lower().endswith(listing.LISTS))


def listed_before(settings: dict) -> lists.Summary | None:
    """The list that params.yaml names, where it is here."""
    note = json.loads(BROUGHT.read_text()) if BROUGHT.exists() else {}
    right = note.get("path"), note.get("sha256")
    return lists.of_note(note) if right == (settings["download"]["path"], settings["download"]["sha256"]) else None


def located(source: str, own: str | None, settings: dict) -> dict[str, str | None]:
    """What params.yaml has to say of a source: which it is, where the user's own photos lie, and the archive's digest."""
    wanted: dict[str, str | None] = {"download.source": source}
    if source == "path":
        wanted["download.path"] = str(sources.own_photos(own))
    elif settings["download"]["path"]:
        wanted["download.path"] = None
    held = sources.digest(source, own)
    # An archive that isn't here now, but was, keeps its digest: its photos are in the cache.
    if held or source != settings["download"]["source"] or not (CHOSEN.exists() or brought()):
        wanted["download.sha256"] = held
    return wanted


def looked_at(
    source: str, own: str | None, again: bool, settings: dict
) -> tuple[archive.Listing | lists.Summary | None, dict[str, str | None]]:
    """What the user's own photos are, if it is these, and what params.yaml has to say of a source. A bucket is listed `again`, or
    where there is no list yet."""
    if source != "bucket":
        with archive.listing(sources.own_photos(own)) if source == "path" else contextlib.nullcontext() as found:
            return found, located(source, own, settings)
    if not again and (found := listed_before(settings)):
        print("The list of photos is that of the last time; PHOTOS=... lists them again.", flush=True)
        return found, {}
    found = lists.bring(sources.in_place(own), lists.LATEST)
    return found, {"download.source": source, "download.path": found.path, "download.sha256": found.sha256}


def snapshot() -> dict[str, str]:
    """The digest of every tracked file that a run writes."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", *TRACKED], capture_output=True, text=True)
    files = [Path(name) for name in listed.stdout.splitlines() if Path(name).exists()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def check_git() -> None:
    """Raise UserError where Git gives no commit, with its own reason: DVC's experiments live in a repository."""
    try:
        back.git("rev-parse", "--verify", "HEAD", LC_ALL="C")
    except FileNotFoundError:
        raise UserError("git is missing: install it, DVC keeps experiments in it.") from None
    except UserError as error:
        reason = str(error)
        if "dubious ownership" in reason:
            allow = f"git config --global --add safe.directory {shlex.quote(str(Path.cwd()))}"
            reason = f"this folder belongs to another user (a container, sudo?), so Git leaves it alone. To allow it: {allow}"
        elif "not a git repository" in reason or "single revision" in reason:
            reason = "this is no Git repository with a commit: `git clone` the project instead of copying it."
        raise UserError(reason) from None


def say_what_changed(before: dict[str, str]) -> None:
    """Name the tracked files that differ from a `snapshot`, and the way back."""
    after = snapshot()
    changed = sorted(name for name in after if before.get(name) != after[name])
    if changed:
        groups = [name for name in TRACKED if any(file.split("/")[0] == name for file in changed)]
        print(f"This run changed {len(changed)} tracked files in {', '.join(groups)}.")
        print(f"Keep them: git add {' '.join(groups)} && git commit. The way back from here: make back")
    else:
        print("No tracked file changed.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", choices=sources.SOURCES, help="where photos come from")
    parser.add_argument("--photos", help="your folder of class folders, or a zip of it; or s3://bucket/folder, or a list of photos")
    parser.add_argument("--recipe", help="params to change: recipes/<name>.yaml")
    parser.add_argument("set", nargs="*", metavar="PARAM=VALUE", help="params to change besides, as for `dvc exp run -S`")
    options = parser.parse_args()
    if options.photos and options.source not in (None, *sources.OWN):
        parser.error("your own photos are the source path: leave --source (SOURCE) out")
    if stays(options.photos) and options.source == "path":
        parser.error("photos in a bucket or a list are the source bucket: leave --source (SOURCE) out")
    if any(change.startswith("download.") for change in options.set):
        parser.error("where photos come from is said by --source and --photos (SOURCE and PHOTOS)")
    start = time.monotonic()
    check_git()
    mend.after_a_kill()
    back.lead_back()
    settings = params.read(params.PARAMS)
    changes = recipe.changes(options.recipe) + options.set
    params.check(changed_by(settings, changes), params.PARAMS)  # before anything is written or asked for
    own_source = ("bucket" if stays(options.photos) else "path") if options.photos else None
    source, why = choose(options.source or own_source, settings)
    print(f"Photos from {source}: {why}.", flush=True)
    if not options.recipe:
        changes = recipe.changes(recipe_of_own(source, settings, options.set)) + changes

    again = options.photos or options.source == "bucket"
    elsewhere = source in sources.OWN and not again and locked_elsewhere(settings)
    pull = ["--pull", "--allow-missing"] if elsewhere else []
    if elsewhere:
        what = "That folder" if source == "path" else "The list of photos"
        print(f"{what} is not on this machine: a run takes what the team's remote has of it.", flush=True)
        wanted: dict[str, str | None] = {}
    else:
        found, wanted = looked_at(source, options.photos or settings["download"]["path"], again, settings)
        will = changed_by(settings, changes)
        if found:
            changes += plan.own_photos(found, will["subsample"], options.set)
            will = changed_by(settings, changes)
            photos, needed, sizes = sum(found.counts().values()), plan.bytes_kept(found, will), plan.split(found, will["subsample"])
        else:
            needed, counts = plan.KNOWN[source]
            photos, sizes = sum(counts), plan.drawn(will["subsample"], counts)
            if settings["download"]["source"] in sources.OWN:
                print(OTHER_PHOTOS.format(*sizes, network=will["backbone"]), flush=True)
        will["download"] |= {name.removeprefix("download."): value for name, value in wanted.items()}
        print(estimate.words(will, sizes, photos), flush=True)
        fetch.check_space(Path(), plan.space_needed(will, needed, sizes) - plan.space_taken())

    before = snapshot()
    back.keep()
    try:
        words = {name: "null" if value is None else value for name, value in wanted.items()}
        if wanted.get("download.path"):
            words["download.path"] = experiment.quoted(words["download.path"])
        status = experiment.run(words, changes, *pull)
        if brought() == source:
            CHOSEN.parent.mkdir(exist_ok=True)
            CHOSEN.write_text(source + "\n")
        if not status:
            words = [sys.executable, "-m", "dvc", "repro", *pull, "publish/dvc.yaml"]
            status = subprocess.run(words, env=experiment.environment()).returncode
    finally:
        back.ended()
    print()
    if status:
        say_what_changed(before)
        sys.exit(status)
    table.main()
    print(f"       {(time.monotonic() - start) / 60:.1f} min for this run\n{NEXT}")
    say_what_changed(before)


if __name__ == "__main__":
    command.start(main, "Stopped. The same command goes on with what is already done.")
