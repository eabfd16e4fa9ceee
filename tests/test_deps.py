"""Which code each stage depends on, and that the library's rooms stand on each other without a circle. No stage runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from littledata.core import lockfile, params
from littledata.core.errors import UserError
from tools import deps

# A room imports of rooms below its own floor alone.
FLOORS = ["core", "pictures scores", "photos", "splits networks", "export", "features", "training shards", "predict report"]
PIPELINES = {path: YAML(typ="safe", pure=True).load(ROOT / path)["stages"] for path in params.PIPELINES}
STAGES = {name: stage for stages in PIPELINES.values() for name, stage in stages.items()}


def modules(*tops: str) -> list[Path]:
    """The modules in some of the project's folders. The command that starts groups of faults by their names is none that one imports."""
    return sorted(file for top in tops for file in Path(top).rglob("*.py") if file.name != "__main__.py")


def rerun_by(edited: Path) -> set[str]:
    """The stages whose deps name a file or the room that it is in."""
    return {name for name, stage in STAGES.items() if lockfile.holder(str(edited), stage["deps"])}


def test_the_deps_in_dvc_yaml_are_what_make_deps_writes():
    assert [str(path) for path in params.PIPELINES if path.read_text() != deps.rewritten(path)] == []


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_what_it_imports_and_of_no_room_that_it_takes_little_of(name):
    named = {Path(dep) for dep in STAGES[name]["deps"] if dep.startswith(("littledata", "stages"))}
    script = deps.script_of(STAGES[name])
    needed = set(filter(deps.runs, deps.needed(script)))
    assert script in named and all({file, file.parent} & named for file in needed)
    rooms = {path for path in named if path.is_dir()}
    assert named - rooms <= needed | {script}
    assert all(2 * sum(file.parent == room for file in needed) > len([*filter(deps.runs, room.glob("*.py"))]) for room in rooms)


def test_rooms_stand_on_rooms_below_them():
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()}
    arrows = {
        (file.parts[1], to.parts[1])
        for file in modules("littledata")
        for to in deps.imported(file)
        if len(file.parts) == len(to.parts) == 3
    }
    assert {room for arrow in arrows for room in arrow} == floor.keys()
    assert {f"{room} imports {to}" for room, to in arrows if room != to and floor[room] <= floor[to]} == set()


def test_nothing_imports_a_stage_and_the_library_imports_itself_alone():
    for file in modules("littledata", "stages", "tools", "studies"):
        tops = {path.parts[0] for path in deps.imported(file)}
        assert tops <= ({"littledata"} if file.parts[0] in ("littledata", "stages") else {"littledata", "tools", "studies"}), file


@pytest.mark.parametrize("hidden", ["from . import fetch", "import importlib\nimportlib.import_module('a')", "__import__('a')"])
def test_an_import_that_make_deps_cannot_follow_is_refused(tmp_path, hidden):
    (tmp_path / "module.py").write_text(f"import os\n{hidden}\n")
    with pytest.raises(UserError, match="module.py, line [23]: write `from littledata.room import module`"):
        deps.needed(tmp_path / "module.py")


def test_stale_deps_are_named_and_written(tmp_path, monkeypatch, capsys):
    for name in "stages", "littledata", "publish":
        (tmp_path / name).symlink_to(ROOT / name)
    whole = Path("dvc.yaml").read_text()
    (tmp_path / "dvc.yaml").write_text(whole.replace("      - stages/top.py\n", ""))
    monkeypatch.chdir(tmp_path)
    deps.main()
    assert Path("dvc.yaml").read_text() == whole and capsys.readouterr().out == "dvc.yaml: deps are now what stages import\n"


@pytest.mark.parametrize(
    "key, stages",
    [
        ("finetune.lr", "finetune evaluate"),
        ("top.dropout", "top finetune evaluate"),
        ("small_cnn.filters", "small_cnn evaluate"),
        ("activations.crops", "activations bottleneck top finetune evaluate"),
        ("finetune.unfreeze", "activations bottleneck top finetune evaluate"),
        ("subsample.seed", "subsample small_cnn activations bottleneck top finetune evaluate"),
    ],
)
def test_a_changed_param_reruns_what_follows_from_it_and_nothing_else(key, stages):
    """By dvc.yaml, in which a stage's deps come before it; that DVC does so with a rate is looked at in test_glance.py."""
    rerun, made = [], set[str]()
    for name, stage in PIPELINES[Path("dvc.yaml")].items():
        if made & set(stage["deps"]) or any(f"{key}.".startswith(f"{read}.") for read in stage.get("params", ())):
            rerun.append(name)
            made |= lockfile.paths(stage, "outs", "metrics", "plots").keys()
    assert rerun == stages.split()


def test_what_reads_buckets_or_writes_parquet_reruns_no_training():
    """The same photos come out of an edited client. And what `predict --to` writes is no stage's."""
    assert rerun_by(Path("littledata/photos/places.py")) <= {"download", "subsample", "bottleneck"}
    assert rerun_by(Path("littledata/predict/predictions.py")) == set()


def test_keras_is_imported_in_one_place():
    """Whoever imported it by itself would print TensorFlow's greetings, or have it before its threads are set."""
    importing = re.compile(r"^ *(?:import|from) (keras|tensorflow)\b", re.MULTILINE)
    named = {path for path in modules("littledata", "stages", "tools", "studies") if importing.search(path.read_text())}
    assert named == {Path("littledata/networks/__init__.py")}


def test_every_module_can_be_imported():
    """Those of studies run once in a while, and would else break in between."""
    names = [".".join(file.with_suffix("").parts) for file in modules("littledata", "stages", "tools", "studies")]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name.removesuffix('.__init__'))"
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert not done.returncode, done.stderr[-1000:]


def test_outs_are_cached_and_nothing_turns_the_run_cache_off():
    for name, declared in STAGES.items():
        assert "always_changed" not in declared
        options = {option for flags in lockfile.paths(declared, "outs").values() for option in flags}
        # With `cache: false` on an out that is neither metric nor plot, DVC's run cache leaves the stage out. The card
        # takes a second, and is for git.
        assert options <= {"push"} or name == "card", f"{name}: a plain out with {options}"
