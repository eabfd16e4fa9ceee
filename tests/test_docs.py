"""The pages that people read: links lead somewhere, commands exist, and README.md is one page."""

import importlib.util
import posixpath
import re
import subprocess
from pathlib import PurePosixPath

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from littledata.core import params

FILES = set(subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1])
FOLDERS = {f"{folder}/" for name in FILES for folder in PurePosixPath(name).parents}
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(FILES) if re.fullmatch(r"(docs/)?[^/]+\.md", name)}
PARAMS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
RECIPES = {PurePosixPath(name).stem for name in FILES if name.startswith("recipes/")}
TARGETS = " ".join(re.findall(r"^([a-z][a-z -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
LINES, WORDS = 150, 1200  # of README.md, at most
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
IN_COMMITS = re.compile(r"(stages|littledata|tools|studies|recipes|tests|metrics|publish|requirements|docs|\.[a-z]+)/[\w./-]*")
WRITTEN = (".cache/", ".dvc/cache", ".dvc/config.local", ".venv/")  # by runs and people: in no commit

each_page = pytest.mark.parametrize("page", PAGES)


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return INDENTED.sub("", FENCE.sub("", PAGES[page]))


def inline(page: str) -> list[str]:
    return re.findall(r"`([^`]+)`", prose(page))


def code(page: str) -> str:
    """All that a page shows as code: blocks, fenced or indented, and what stands in backticks."""
    return "\n".join([*FENCE.findall(PAGES[page]), *INDENTED.findall(FENCE.sub("", PAGES[page])), *inline(page)])


def anchors(page: str) -> set[str]:
    """What GitHub names a page's headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ +(.+?) *$", prose(page), re.MULTILINE):
        found.append(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-"))
    return set(found) | {f"{name}-{found[:place].count(name)}" for place, name in enumerate(found) if name in found[:place]}


def leads(page: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
    return target in FILES and (not anchor or (target in PAGES and anchor in anchors(target)))


def runs(module: str) -> bool:
    """Whether `python -m` finds a module: of the project, or one of the environment."""
    path = module.replace(".", "/")
    ours = {f"{path}.py", f"{path}/__main__.py"} & FILES
    return bool(ours) or ("." not in module and importlib.util.find_spec(module) is not None)


def has(name: str) -> bool:
    """Whether params.yaml has a param, or a part of the tree, of this dotted name."""
    return any(f"{key}.".startswith(f"{name}.") for key, _ in params.leaves(PARAMS))


@each_page
def test_every_link_and_picture_leads_to_a_file_that_git_has(page):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))
    assert not [link for link in links if not re.match(r"https?:", link) and not leads(page, link)]


def test_every_page_is_one_link_away_from_the_readme():
    linked = set(re.findall(r"\]\(([^)#]+)", PAGES["README.md"]))
    assert not [page for page in PAGES if page != "README.md" and page not in linked]


@each_page
def test_what_a_page_names_exists(page):
    """Make's targets, modules that Python runs, params that a command sets or the text names, recipes, files and folders."""
    shown, named = code(page), inline(page)
    knobs = re.findall(r"(?:-[SR] |SET=)'?([a-z]\w*(?:\.\w+)*)", shown)
    knobs += [word.partition("=")[0] for words in re.findall(r'SET="([^"]*)"', shown) for word in words.split()]
    others = re.findall(r"(?<![\w./-])([a-z]\w*(?:\.\w+)*)=", shown) + [
        text for text in named if re.fullmatch(r"\w+(\.\w+)+", text)
    ]
    knobs += [name for name in others if name.partition(".")[0] in PARAMS]
    paths = [text for text in named if IN_COMMITS.fullmatch(text) and not text.startswith(WRITTEN)]
    assert {
        "targets": [target for target in re.findall(r"\bmake ([a-z][a-z-]*)", shown) if target not in TARGETS],
        "modules": [module for module in re.findall(r"\bpython -m (\w+(?:\.\w+)*)", shown) if not runs(module)],
        "params": [name for name in knobs if not has(name)],
        "recipes": {*re.findall(r"(?:RECIPE=|tools\.recipe )([a-z]\w*)", shown)} - RECIPES,
        "paths": [path for path in paths if path not in FILES | FOLDERS],
    } == {"targets": [], "modules": [], "params": [], "recipes": set(), "paths": []}


def test_make_help_fits_on_a_screen():
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(listed) <= 26 and {line.split()[0] for line in listed[:-1]} <= set(TARGETS)


def test_the_readme_is_one_page():
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= LINES and len(text.split()) <= WORDS
    assert text.count("![") == 1, "one picture"
