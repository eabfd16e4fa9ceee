"""Say whether dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics in git.

    python -m tools.lock            # make check-lock

Compares commands, params and md5s by itself: it runs nothing and needs no data, where a dry `dvc repro` stumbles
over data that isn't there. Exits with status 1 and a line for every difference.
"""

import sys

from littledata.core import command, lockfile, params


def makers_of(pipeline: dict[str, dict]) -> dict[str, str]:
    """Say which stage writes what, by path, for the stages of the dvc.yaml files."""
    return {path: stage for stage in pipeline for path in lockfile.paths(pipeline[stage], "outs", "metrics", "plots")}


def differences() -> list[str]:
    """Say in one line each in what dvc.lock differs from what is in Git, by stage; no line if it belongs."""
    settings, pipeline, lock = params.load(), lockfile.stages(*params.PIPELINES), lockfile.stages(*lockfile.LOCKS)
    makers = makers_of(pipeline)
    made = {path: lockfile.outs(lock.get(stage, {})).get(path) for path, stage in makers.items()}
    lines = [f"{stage}: dvc.lock has this stage, dvc.yaml does not" for stage in lock if stage not in pipeline]
    for stage, declared in pipeline.items():
        if stage not in lock:
            lines.append(f"{stage}: dvc.lock does not have this stage")
            continue
        locked = lockfile.entries(lock[stage])
        due = lockfile.due(declared, settings, made, locked)
        for path, flags in lockfile.paths(declared, "outs", "metrics", "plots").items():
            due[path] = made[path] if flags.get("cache", True) else lockfile.md5(path)
        for key in sorted(due.keys() | locked.keys()):
            if key not in locked:
                lines.append(f"{stage}: dvc.lock does not have {key}")
            elif key not in due:
                lines.append(f"{stage}: only dvc.lock has {key}")
            elif due[key] != locked[key]:
                whose = f", by stage {makers[key]}" if makers.get(key, stage) != stage else ""
                what = "not there" if due[key] is None and not key.startswith("param ") else due[key]
                lines.append(f"{stage}: {key} is {what}{whose}; in dvc.lock {locked[key]}")
    return lines


def main() -> None:
    if lines := differences():
        print(*lines, sep="\n")
        sys.exit("dvc.lock does not belong to what is in git: run `dvc repro -P` and commit what it wrote.")
    print("dvc.lock belongs to params.yaml, dvc.yaml, the code and the metrics.")


if __name__ == "__main__":
    command.start(main)
