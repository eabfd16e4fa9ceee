"""Choose where photos come from, run the pipeline, show the results.

    python -m tools.repro                                   # make repro
    python -m tools.repro --source microsoft                # make repro SOURCE=microsoft
    python -m tools.repro --source path --photos ~/pictures # make repro SOURCE=path PHOTOS=~/pictures
    python -m tools.repro --photos s3://team/photos         # make repro PHOTOS=s3://team/photos
    python -m tools.repro --recipe accurate                 # make repro RECIPE=accurate, or make accurate
    python -m tools.repro finetune.lr=0.001                 # make repro SET=finetune.lr=0.001, with other params

What is chosen and asked for is written into params.yaml, so that `dvc repro` alone would do the same. A place of the user's is listed
once: what params can't have is refused before anything is packed, and the stage `download` takes the listing. Where params.yaml still
says `kaggle` the choice is made once: it is noted in .cache/source, so that a later run on another network doesn't take other photos.
"""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from dvc.repo import Repo
from ruamel.yaml import YAML

from littledata.core import command, environment, files, lockfile, measured, params
from littledata.core.errors import UserError
from littledata.photos import download, fetch, listing, lists, sources
from littledata.splits import draw
from tools import back, estimate, experiment, mend, plan, recipe, table

CHOSEN = Path(".cache/source")
DIGESTS = Path(".cache/digests.json")  # of listings by their sha256: what `download` found there
TRACKED = ("params.yaml", "dvc.lock", "metrics", "publish", "REPORT.md")
LIGHT = "Recipe light, as good as VGG16 on own photos or better, in less time (docs/own-photos.md). VGG16: RECIPE=vgg16"
OTHER_PHOTOS = "All other params are still those of your own photos. `make back`, or a commit before them, has the project's own."
NEXT = """\
next:  . .venv/bin/activate                   for dvc, python and predict
       predict ~/pictures                     what is on your own
       dvc exp run -S finetune.lr=0.0001      an experiment: only level 3 runs again
       dvc exp show --only-changed            compare experiments
       dvc plots show                         curves, confusion and ROC as a page
       make blog                              the Keras blog's own recipe"""


def noted(path: Path = download.NOTE) -> dict:
    """What the stage `download`, or this tool, has noted; nothing where it has not."""
    return json.loads(path.read_text()) if path.exists() else {}


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
    if archive := sources.by_hand():
        return "kaggle", f"{sources.ARCHIVE_VARIABLE} names {archive}"
    if (source := noted().get("source")) in public:
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


def takes_light(source: str, settings: Mapping, changes: list[str]) -> bool:
    """Whether own photos that are new here take the recipe `light`: params.yaml, or the user, may have a network of their own."""
    named = {change.partition("=")[0] for change in changes} & {"backbone", "finetune.unfreeze"}
    new = source in sources.OWN and settings["download"]["source"] not in sources.OWN
    return new and settings["backbone"] == "VGG16" and not named


def stays(photos: str | None) -> bool:
    """Whether PHOTOS can only be the source `bucket`."""
    return bool(photos) and ("://" in photos or lists.is_list(photos))


def listed_before(settings: Mapping) -> listing.Listing | None:
    """The list that params.yaml names, where it is here."""
    found = listing.handed_over("bucket", settings["download"]["path"] or "")
    return found if found and found.sha256 == settings["download"]["sha256"] else None


def locked_elsewhere(settings: Mapping) -> bool:
    """Whether the user's own photos, or the list of them, lie on another machine, and dvc.lock is of them: a colleague has run this."""
    path, locked = settings["download"]["path"], lockfile.stages(*lockfile.LOCKS).get("download")
    if not path or (environment.ROOT / os.path.expanduser(path)).exists() or listed_before(settings) or not locked:
        return False
    return locked["params"][str(params.PARAMS)] == {"download": settings["download"]}


def list_place(source: str, path: str | None, again: bool, settings: Mapping) -> listing.Listing | None:
    """List the user's own photos, or the archive that was downloaded by hand; None of a source that lies elsewhere. A bucket is listed
    `again`, or where there is no list yet."""
    if source == "bucket" and not again and (found := listed_before(settings)):
        print("The list of photos is that of the last time; PHOTOS=... lists them again.", flush=True)
        return found
    if source == "kaggle" and (archive := sources.by_hand()):
        return listing.of(source, sources.kaggle_train_zip(archive), sources.SOURCES[source].layout)
    return listing.of(source, path) if source in sources.OWN else None


def located(source: str, found: listing.Listing | None, settings: Mapping) -> dict[str, str | None]:
    """The params of `download`: the source, where the user's own photos lie, and the digest of what was found there before."""
    # An archive that isn't here now, but was, keeps its digest: its photos are in the cache.
    same = source == settings["download"]["source"] and (CHOSEN.exists() or noted())
    digest = noted(DIGESTS).get(found.sha256) if found else settings["download"]["sha256"] if same else None
    return {"source": source, "path": found.path if found and source in sources.OWN else None, "sha256": digest}


def write(wanted: Mapping) -> None:
    """Write params into params.yaml, whose comments stay."""
    yaml = YAML()
    yaml.width = 1000
    tree = yaml.load(params.PARAMS)
    if differing := [leaf for leaf in params.leaves(wanted) if repr(params.value(tree, leaf[0])) != repr(leaf[1])]:
        with files.whole(params.PARAMS) as file:
            yaml.dump(recipe.with_values(tree, differing), file)


def bring(found: listing.Listing) -> int:
    """Let the stage `download` take a listing that it has not taken before; returns DVC's exit status.

    DVC's run cache does not see the place, hence --force. The digest of what was found belongs to params and lock afterwards.
    """
    if status := experiment.dvc("repro", "--force", "--single-item", "download"):
        return status
    digest, locked = noted()["digest"], lockfile.stages(*lockfile.LOCKS)["download"]
    settings = params.read(params.PARAMS)
    settings["download"]["sha256"] = digest
    write(settings)
    with Repo() as repo:
        repo.commit("download", force=True)
    if took := measured.of("download", locked):
        measured.keep("download", lockfile.ins(lockfile.stages(*lockfile.LOCKS)["download"]), **took)
    with files.whole(DIGESTS) as file:
        file.write(json.dumps(noted(DIGESTS) | {found.sha256: digest}).encode())
    return 0


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


def settle(found: listing.Listing, changes: list[str]) -> None:
    """Write what a run takes of the user's own photos into params.yaml, and say it: by what the stage `download` has noted, which has
    read them, where that is of this listing."""
    settings, note = params.read(params.PARAMS), noted()
    fresh = note.get("digest") == settings["download"]["sha256"]
    counts, splits = (note["counts"], note["splits"]) if fresh else (found.counts(), found.splits())
    taken = plan.subsample(counts, splits, settings["subsample"], changes)
    if not draw.kept(splits, taken):
        print(plan.draws(counts, settings["subsample"], taken), flush=True)
    write(settings | {"subsample": taken})


def say_what_changed(before: str) -> None:
    """Name the tracked files that differ from what was kept, and the way back."""
    if changed := back.changed(before, back.kept()):
        groups = [name for name in TRACKED if any(file.split("/")[0] == name for file in changed)]
        print(f"This run changed {len(changed)} tracked files in {', '.join(groups)}.")
        print(f"Keep them: git add {' '.join(groups)} && git commit. The way back from here: make back")
    else:
        print("No tracked file changed.")


def parsed() -> argparse.Namespace:
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
    if options.photos:
        options.source = "bucket" if stays(options.photos) else options.source or "path"
    return options


def foresee(found: listing.Listing | None, wanted: dict, changes: list[str]) -> None:
    """Say what was found and how long a run takes; refuse what the params can't have, before anything is packed.

    Raises
    ------
    UserError
        Where there are too few classes or photos, or too little room on the disk.
    """
    room, counts = plan.KNOWN.get(wanted["download"]["source"], (0, []))
    if found:
        found.check()
        print(*found.lines(), plan.classes(found.counts()), sep="\n", flush=True)
        room, counts = found.size, list(found.counts().values())
    sizes = plan.drawn(wanted["subsample"], counts)
    if wanted["download"]["source"] in sources.OWN:
        wanted = wanted | {"subsample": plan.subsample(found.counts(), found.splits(), wanted["subsample"], changes)}
        sizes = plan.split(found, wanted["subsample"])
        room = plan.bytes_kept(found, wanted, sizes)
    print(estimate.words(wanted, sizes), flush=True)
    plan.check_space(wanted, room, sizes)


def save() -> int:
    """Give the run its name among DVC's experiments; returns DVC's exit status. DVC leaves nothing staged, so that is put back."""
    index = back.git("write-tree")
    status = experiment.dvc("exp", "save")
    back.git("read-tree", index)
    return status


def main() -> None:
    options, start = parsed(), time.monotonic()
    check_git()
    mend.after_a_kill()
    back.lead_back()
    settings = params.read(params.PARAMS)
    wanted = recipe.asked(settings, options.recipe, options.set)
    source, why = choose(options.source, settings)
    print(f"Photos from {source}: {why}.", flush=True)
    if not options.recipe and takes_light(source, settings, options.set):
        print(LIGHT, flush=True)
        wanted = recipe.asked(settings, "light", options.set)

    own, again = source in sources.OWN, options.photos or options.source == "bucket"
    elsewhere = own and not again and locked_elsewhere(settings)
    found, pull = None, ["--pull", "--allow-missing"] if elsewhere else []
    if elsewhere:
        what = "That folder" if source == "path" else "The list of photos"
        print(f"{what} is not on this machine: a run takes what the team's remote has of it.", flush=True)
    else:
        found = list_place(source, options.photos or settings["download"]["path"], again, settings)
        wanted["download"] = located(source, found, settings)
        foresee(found, wanted, options.set)
        if settings["download"]["source"] in sources.OWN and not own:
            print(OTHER_PHOTOS, flush=True)

    before, status = back.keep(), 0
    try:
        write(wanted)
        if found:
            listing.hand_over(found)
        if found and not wanted["download"]["sha256"]:
            status = bring(found)
        if found and own and not status:
            settle(found, options.set)
        status = status or experiment.dvc("repro", *pull)
        if noted().get("source") == source:
            CHOSEN.parent.mkdir(exist_ok=True)
            CHOSEN.write_text(source + "\n")
        status = status or experiment.dvc("repro", *pull, "publish/dvc.yaml")
        if not (status or pull) and back.changed(before, back.kept()):
            status = save()
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
