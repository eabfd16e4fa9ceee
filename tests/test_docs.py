"""The pages that people read: links lead somewhere, commands exist, and README.md is one page."""

import importlib.util
import posixpath
import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent  # not conftest's, which imports Keras
FILES = set(subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")[:-1])
FOLDERS = {f"{folder}/" for name in FILES for folder in PurePosixPath(name).parents}
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(FILES) if re.fullmatch(r"(docs/)?[^/]+\.md", name)}
PARAMS = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
TARGETS = " ".join(re.findall(r"^([a-z][a-z -]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE)).split()
LINES, WORDS = 150, 1200  # of README.md, at most
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .*$", re.MULTILINE)
IN_COMMITS = re.compile(r"(stages|tools|studies|recipes|tests|metrics|publish|requirements|docs|\.[a-z]+)/[\w./-]*")
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
    return (
        f"{path}.py" in FILES
        or f"{path}/__main__.py" in FILES
        or ("." not in module and importlib.util.find_spec(module) is not None)
    )


def has(name: str) -> bool:
    """Whether params.yaml has a param of this dotted name."""
    value = PARAMS
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


@each_page
def test_every_link_and_picture_leads_to_a_file_that_git_has(page):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))
    assert not [link for link in links if not re.match(r"https?:", link) and not leads(page, link)]


def test_every_page_is_one_link_away_from_the_readme():
    linked = set(re.findall(r"\]\(([^)#]+)", PAGES["README.md"]))
    assert not [page for page in PAGES if page != "README.md" and page not in linked]


@each_page
def test_every_make_target_is_in_the_makefile(page):
    assert not [target for target in re.findall(r"\bmake ([a-z][a-z-]*)", code(page)) if target not in TARGETS]


@each_page
def test_every_module_that_python_runs_exists(page):
    modules = re.findall(r"\bpython -m (\w+(?:\.\w+)*)", code(page))
    assert not [module for module in modules if not runs(module)]


@each_page
def test_every_param_is_in_params_yaml(page):
    """Those that a command sets, and those that the text names."""
    names = re.findall(r"(?:-[SR] |SET=)'?([a-z]\w*(?:\.\w+)*)", code(page))
    names += [word.partition("=")[0] for words in re.findall(r'SET="([^"]*)"', code(page)) for word in words.split()]
    others = re.findall(r"(?<![\w./-])([a-z]\w*(?:\.\w+)*)=", code(page))
    others += [text for text in inline(page) if re.fullmatch(r"\w+(\.\w+)+", text)]
    names += [name for name in others if name.partition(".")[0] in PARAMS]
    assert not [name for name in names if not has(name)]


@each_page
def test_every_recipe_is_a_file(page):
    names = re.findall(r"(?:RECIPE=|tools\.recipe )([a-z]\w*)", code(page))
    assert not [name for name in names if f"recipes/{name}.yaml" not in FILES]


@each_page
def test_every_file_and_folder_of_the_project_exists(page):
    named = [text for text in inline(page) if IN_COMMITS.fullmatch(text) and not text.startswith(WRITTEN)]
    assert not [path for path in named if path not in FILES | FOLDERS]


def test_the_readme_is_one_page():
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= LINES and len(text.split()) <= WORDS
    assert text.count("![") == 1, "one picture"
