"""The report on clones of this repository with its own history, two branches each, and what GitHub makes of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, change, git, run
from PIL import Image
from ruamel.yaml import YAML

from littledata.core import lockfile, tables
from littledata.core.params import leaves
from littledata.scores import levels, metrics
from tools import comment, report

WORKFLOW, SLOW = ROOT / ".github/workflows/pull-request.yml", ROOT / ".github/workflows/slow.yml"
GITLAB = ROOT / ".gitlab-ci.yml"


def cells(text: str, section: str) -> list[list[str]]:
    """The rows of the tables in a section, without headers."""
    body = text.split(f"## {section}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]
    return [row for row, below in zip(rows, [*rows[1:], []]) if row[0] != "---" and below[:1] != ["---"]]


def at(folder: Path, commit: str, path: str) -> str:
    return git(folder, "show", f"{commit}:{path}")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A clone whose `branch` came from worse results on `base`, which went on by itself."""
    folder = tmp_path_factory.mktemp("report") / "clone"
    git(ROOT, "clone", "--quiet", str(ROOT), str(folder))
    worse(folder)
    for words in "commit -am worse", "checkout -b base", "checkout -b branch", "revert --no-edit HEAD", "checkout base":
        git(folder, *words.split())
    change(folder, image_size=128)
    for words in "commit -am afterwards", "checkout branch":
        git(folder, *words.split())
    return folder


def worse(folder: Path) -> None:
    """Turn the committed results into those of other params: level 3 far worse, the others a little."""
    scores = metrics.read(folder / metrics.SCORES)
    for level, splits in scores.items():
        for of_split in splits.values():
            for name in ("accuracy", "balanced_accuracy"):
                of_split[name] = round(of_split[name] - (0.2 if level == "finetune" else 0.005), 6)
    kept = {level: {split: {n: of[n] for n in metrics.FIELDS} for split, of in splits.items()} for level, splits in scores.items()}
    metrics.write(kept, folder / metrics.SCORES)
    change(folder, finetune__lr=0.5)
    yaml = YAML()
    tree = yaml.load(folder / "dvc.lock")
    tree["stages"]["finetune"]["params"]["params.yaml"]["finetune"]["lr"] = 0.5
    (out,) = (out for out in tree["stages"]["evaluate"]["outs"] if out["path"] == str(metrics.SCORES))
    out["md5"] = lockfile.md5(str(folder / metrics.SCORES))
    yaml.dump(tree, folder / "dvc.lock")


@pytest.fixture(scope="module")
def written(project) -> tuple[str, str]:
    """The report against `base`, and the commit where the branch left it."""
    run(project, "tools.report", "base")
    return (project / "report/report.md").read_text(), git(project, "merge-base", "base", "branch")


def test_metrics_are_those_of_both_commits(project, written):
    text, old = written
    before, after = (metrics.parse(at(project, commit, "metrics/scores.csv")) for commit in (old, "HEAD"))
    rows = {(row[0], row[1]): row[2:] for row in cells(text, "Metrics")}
    assert len(rows) == 6 and before != after
    for level, name in levels.LEVELS.items():
        for split in report.SPLITS:
            was, now = before[level][split], after[level][split]
            intervals_overlap = was["accuracy_low"] <= now["accuracy_high"] and now["accuracy_low"] <= was["accuracy_high"]
            assert rows[name, split] == [
                f"{was['accuracy']:.3f} ({was['accuracy_low']:.3f}-{was['accuracy_high']:.3f})",
                f"{now['accuracy']:.3f} ({now['accuracy_low']:.3f}-{now['accuracy_high']:.3f})",
                f"{100 * (now['accuracy'] - was['accuracy']):+.2f}",
                "no: the intervals overlap" if intervals_overlap else "yes: the intervals are apart",
                f"{was['log_loss']:.4f} to {now['log_loss']:.4f}",
                f"{was['roc_auc']:.4f} to {now['roc_auc']:.4f}",
            ]


def test_params_and_stages_are_those_that_changed_since_the_branch_left(project, written):
    text, old = written
    trees = [YAML(typ="safe", pure=True).load(at(project, commit, "params.yaml")) for commit in (old, "HEAD")]
    was, now = (dict(leaves(tree)) for tree in trees)
    changed = {name for name in was.keys() | now.keys() if was.get(name) != now.get(name)}
    rows = {name: values for name, *values in cells(text, "Params")}
    assert rows.keys() == changed and "image_size" not in rows
    assert all(rows[name] == [str(was.get(name)), str(now.get(name))] for name in changed)
    locks = [YAML(typ="safe", pure=True).load(at(project, commit, "dvc.lock"))["stages"] for commit in (old, "HEAD")]
    rows = dict(cells(text, "Stages"))
    assert rows.keys() == {stage for stage in locks[1] if locks[0].get(stage) != locks[1][stage]}
    assert "`metrics/scores.csv`" in rows["evaluate"]
    assert all(f"`param {name}`" in rows["finetune"] for name in changed if name.startswith("finetune."))


def test_pictures_show_both_sides(project, written):
    for name, colours in ("curves", (report.BEFORE, report.AFTER)), ("confusion", ()):
        assert f"({name}.png)" in written[0]
        with Image.open(project / f"report/{name}.png") as picture:
            assert picture.width == 1200 and picture.height >= 600
            found = {colour: count for count, colour in picture.convert("RGB").getcolors(2**20)}
        assert found[255, 255, 255] < 0.95 * 1200 * 600 and len(found) > 50, "blank"
        if colours:
            assert found[tuple(bytes.fromhex(colours[1][1:]))] > 500, "after"
            red, green, blue = (round(255 - 0.5 * (255 - value)) for value in bytes.fromhex(colours[0][1:]))
            assert any((red + a, green + b, blue + c) in found for a in (-1, 0) for b in (-1, 0) for c in (-1, 0)), "before"


def test_the_same_states_give_the_same_report_and_a_wrong_lock_is_in_it(project, written):
    files = [project / "report" / name for name in ("report.md", "curves.png", "confusion.png")]
    before = [file.read_bytes() for file in files]
    run(project, "tools.report", "base")
    assert [file.read_bytes() for file in files] == before
    with open(project / "stages/finetune.py", "a") as code:
        code.write("\n")
    try:
        run(project, "tools.report", "base")
    finally:
        git(project, "restore", "stages")
    assert "\n- finetune: stages/finetune.py is " in files[0].read_text()
    assert "belongs" in written[0]
    missing = "`data/predictions.csv` or `data/manifest.csv` of base and this branch is neither here nor in DVC's cache or remote."
    assert written[0].rstrip().splitlines()[-1] == missing


def test_an_unknown_base_is_one_clear_line(project):
    output = run(project, "tools.report", "nowhere", check=False)
    assert output.startswith("nowhere is not a commit") and len(output.splitlines()) == 1


def with_predictions(folder: Path, wrong: int, name: str = "{:05}", photos: range = range(20)) -> None:
    """Commit a lock whose predictions and manifest lie in DVC's cache: of the numbered photos, whose files are called by `name`,
    all are right, but of level 3's test photos the first few."""
    path = folder / "dvc.lock"
    numbered = [(split, number, f"{split}/cat/{name.format(number)}.jpg") for split in report.SPLITS for number in photos]
    said = [["level", "file", "class", "probability_cat", "probability_dog"]]
    for level in levels.LEVELS:
        for split, number, file in numbered:
            cat = 0.25 if (level, split) == ("finetune", "test") and number < photos[0] + wrong else 0.875
            said.append([level, file, "cat", cat, 1 - cat])
    manifest = [["file", "class", "split", "original", "sha256"]]
    manifest += [[file, "cat", split, f"{number}.jpg", f"{split}{number}"] for split, number, file in numbered]
    for stage, out, table in ("evaluate", report.PREDICTIONS, said), ("subsample", report.MANIFEST, manifest):
        tables.write(folder / "table.csv", table[0], table[1:])
        md5 = lockfile.md5(str(folder / "table.csv"))
        cached = folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        cached.parent.mkdir(parents=True, exist_ok=True)
        (folder / "table.csv").rename(cached)
        held = lockfile.outs(lockfile.load(path.read_text(), path.name)[stage])[out]
        path.write_text(path.read_text().replace(held, md5))
    git(folder, "commit", "--quiet", "-m", f"{wrong} wrong", "dvc.lock")


def reported(project: Path, worse: dict, better: dict) -> str:
    """The report of a branch with some predictions against one with others."""
    git(project, "checkout", "--quiet", "-B", "worse")
    try:
        with_predictions(project, wrong=10, **worse)
        git(project, "checkout", "--quiet", "-B", "better")
        with_predictions(project, wrong=0, **better)
        run(project, "tools.report", "worse")
    finally:
        git(project, "checkout", "--quiet", "branch")
    return (project / "report/report.md").read_text()


def test_predictions_from_the_cache_are_compared_photo_by_photo(project, written):
    text = reported(project, {}, {})
    verdicts = [row[5] for row in cells(text, "Metrics")]
    assert verdicts == [*5 * ["no: 0 won, 0 lost, p = 1"], "yes: 10 won, 0 lost, p = 0.002"]  # 2 / 2**10
    assert "3 fine-tuning, test: 10 of 20 photos" in text and "3 fine-tuning, validation: 0 of 20 photos" in text
    expected = [[f"test/cat/{number:05}.jpg", "cat", "dog (0.75)", "cat (0.88)"] for number in range(10)]
    assert cells(text, "Photos whose prediction changed") == expected


def test_photos_are_known_by_their_contents_and_those_that_both_have_are_compared(project, written):
    """Files were called by where they stood in their draw, and the other side drew some others."""
    text = reported(project, {"photos": range(20)}, {"photos": range(4, 30), "name": "another{}"})
    verdicts = {(row[0], row[1]): row[5] for row in cells(text, "Metrics")}
    assert verdicts["3 fine-tuning", "test"] == "yes: 6 won, 0 lost, p = 0.031, on the 16 test photos that both have"
    assert verdicts["1 small convnet", "validation"] == "no: 0 won, 0 lost, p = 1, on the 16 validation photos that both have"
    assert "3 fine-tuning, test: 6 of the 16 test photos that both have" in text
    expected = [[f"test/cat/another{number}.jpg", "cat", "dog (0.75)", "cat (0.88)"] for number in range(4, 10)]
    assert cells(text, "Photos whose prediction changed") == expected
    text = reported(project, {}, {"photos": range(20, 40)})
    assert "The two don't share a photo: none can be compared with itself." in text
    assert all("intervals" in row[5] for row in cells(text, "Metrics"))


def test_beyond_chance_needs_enough_photos_to_change_sides():
    some = {"accuracy_low": 0.9, "accuracy_high": 0.95}
    assert report.beyond_chance(some, some, 5 * [(False, True)] + [(True, True)]).startswith("no: 5 won, 0 lost")
    assert report.beyond_chance(some, some, 6 * [(True, False)]).startswith("yes: 0 won, 6 lost")
    assert report.beyond_chance(some, {"accuracy_low": 0.96, "accuracy_high": 0.98}, []).startswith("yes")


def test_actions_are_pinned_by_commit():
    """A tag can be moved to other code; zizmor, in `make audit`, looks for more."""
    uses = re.findall(r"uses: (\S+)", "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")))
    assert uses and not [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)]


@pytest.mark.parametrize(
    "schema, path, wrong",
    [("github-workflows", WORKFLOW, "runs-on"), ("github-workflows", SLOW, "runs-on"), ("gitlab-ci", GITLAB, "expose_as")],
)
def test_jobs_are_what_the_schema_allows(tmp_path, schema, path, wrong):
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    (tmp_path / "wrong.yml").write_text(path.read_text().replace(wrong, "other"))
    assert not subprocess.run([*words, path], stdout=subprocess.DEVNULL).returncode
    assert subprocess.run([*words, tmp_path / "wrong.yml"], stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize(
    "file, needed",
    [
        (WORKFLOW, {"report", "check-lock", "comment", "lint", "test"}),
        (SLOW, {"test-slow", "canary"}),
        (GITLAB, {"report", "check-lock", "lint", "test", "test-slow", "canary"}),
    ],
)
def test_the_jobs_run_what_people_can_run(file, needed):
    targets = re.findall(r"^([a-z-]+|\$\(BIN\)/[.\w%]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = re.findall(r"- (?:run: |if:.*\n\s+run: )?make (\S+)", file.read_text())
    assert needed <= set(used) <= {*targets, ".venv/bin/.run"}


GH = f"""#!{sys.executable}
import json, os, sys
kept = json.load(open("comments.json"))
*words, url = sys.argv[1:]
if os.environ.get("GITHUB_TOKEN") != "x":
    sys.exit("gh: Bad credentials (HTTP 401)")
if words == ["api", "--paginate", "--slurp"]:
    print(json.dumps([[dict(body=body, url=f"comments/{{n}}")] for n, body in enumerate(kept)]))
elif words == ["api", "--method", "POST", "--field", "body=@-"] and url == "repos/{{owner}}/{{repo}}/issues/12/comments":
    kept.append(sys.stdin.read())
else:
    assert words == ["api", "--method", "PATCH", "--field", "body=@-"]
    kept[int(url.removeprefix("comments/"))] = sys.stdin.read()
json.dump(kept, open("comments.json", "w"))
"""


def test_there_is_one_comment_and_it_is_kept_up_to_date(tmp_path):
    """By a `gh` that keeps comments in a file, one a page."""
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "report").mkdir()
    (tmp_path / "comments.json").write_text(json.dumps(["somebody else's"]))
    env = {"PATH": str(tmp_path), "GITHUB_TOKEN": "x"}
    for text in "# A report\n![Curves](curves.png)", "# A later report":
        (tmp_path / "report/report.md").write_text(text)
        run(tmp_path, "tools.comment", "12", "https://example.com/7", **env)
        posted = text.replace("![Curves](curves.png)", "[Curves](https://example.com/7)")
        assert json.loads((tmp_path / "comments.json").read_text()) == ["somebody else's", f"{comment.MARKER}\n{posted}"]
    refused = run(tmp_path, "tools.comment", "12", "x", check=False, **env | {"GITHUB_TOKEN": "stale"})
    assert "Bad credentials" in refused and len(refused.splitlines()) == 1
    missing = run(tmp_path, "tools.comment", "12", "x", check=False, **env | {"PATH": str(tmp_path / "report")})
    assert missing == "`gh`, GitHub's client, is missing: this is for GitHub Actions, which bring it.\n"


@pytest.mark.parametrize("classes, named", [(3, True), (200, False)])
def test_very_many_classes_are_drawn_by_their_colours_alone(tmp_path, monkeypatch, classes, named):
    monkeypatch.chdir(tmp_path)
    for level in levels.LEVELS:
        tables.write(
            Path(f"metrics/confusion/{level}.csv"), ["actual", "predicted"], ((n % classes, n % 7 % classes) for n in range(999))
        )
    axis = report.confusion(None).axes[0]
    assert bool(axis.texts) is bool(axis.get_xticklabels()) is named and axis.images
