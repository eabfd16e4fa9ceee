"""Install pinned packages into this Python's environment, and say how far that is. make calls it; it needs nothing but pip.

    .venv/bin/python tools/install.py requirements/run.txt

A package that comes as its sources alone is built by the pinned setuptools: else pip would fetch another one for it, whose
digest nobody checks, or build in an old way and complain about that.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--require-hashes"]
BUILDER = "setuptools"  # it brings what makes wheels
SECONDS_BETWEEN_LINES = 20


def pinned(path: Path) -> dict[str, str]:
    """The packages of a requirements file with their lines, by name."""
    return {
        re.match(r"[\w.-]+", block)[0]: block for block in re.findall(r"^\w.*(?:\n +--hash.*)*", path.read_text(), re.MULTILINE)
    }


def pip(*words: str, count: int = 0) -> None:
    """Run pip; with a count, say now and then how many of so many packages it has looked at. Its own words are shown where it fails."""
    process = subprocess.Popen([*PIP, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen, told, printed = 0, time.monotonic(), []
    for line in process.stdout:
        printed.append(line)
        seen += line.startswith(("Collecting ", "Requirement already "))
        if count and time.monotonic() - told > SECONDS_BETWEEN_LINES:
            told = time.monotonic()
            print(f"{seen} of {count} packages" if seen < count else "unpacking them", flush=True)
    if process.wait():
        sys.exit("".join(printed[-40:]) + "The packages could not be installed; pip's own words are above.")


def main() -> None:
    path = Path(sys.argv[1])
    packages = pinned(path)
    print(f"Installing {len(packages)} packages of {path} into .venv (some minutes, once)", flush=True)
    if BUILDER in packages:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            print(packages[BUILDER], file=file, flush=True)
            pip("--no-deps", "-r", file.name)
    pip("--no-build-isolation", "--use-pep517", "-r", str(path), count=len(packages))


if __name__ == "__main__":
    main()
